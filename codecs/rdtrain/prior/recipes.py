"""What the two parts of a prior are trained from and judged by, and the model that both write: ``model/``."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rdcodecs.optional import diffusers
from rdcodecs.prior.autoencoders import latent_space_digest
from rdcodecs.prior.folder import read_json
from rdcodecs.prior.load import load_network
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.loop import Run
from rdtrain.core.picture_distance import Perceptual, perceptual_digest
from rdtrain.core.recipe import Recipe
from rdtrain.core.record import RECORD
from rdtrain.core.state import latest_state
from rdtrain.prior.autoencoder import AutoencoderTask, Sketches, make_autoencoder
from rdtrain.prior.card import next_part, record_part
from rdtrain.prior.export import blended, export_autoencoder, export_unet, whitened
from rdtrain.prior.latents import stored_latents
from rdtrain.prior.settings import TrainConfig
from rdtrain.prior.unet import UNetTask, make_unet, scheduler_config

_ARCHITECTURE = "architecture.json"
_MEASURED = 2048
"""Crops, about, on which the latents' spread is measured."""


@dataclass(frozen=True)
class AutoencoderRecipe(Recipe[AutoencoderTask]):
    """The first part: ``model/vae``.

    Attributes:
        config: the settings, of both parts.
        crops: the images.
        perceptual: the perceptual loss, if any.
        start: folder of a model to go on from; its architecture is taken over.
        sketches: what the decoder learns from besides, where the encoder is frozen.
        kept: share of the decoder's weights in `start` that the exported ones keep (`blended`); the encoder must be
            frozen.

    Raises:
        TrainingError: sketches or a blend without a frozen encoder to begin with, or a share out of its range.
    """

    states: ClassVar[str] = "vae"

    config: TrainConfig
    crops: Crops
    perceptual: Perceptual | None = None
    start: Path | None = None
    sketches: Sketches | None = None
    kept: float = 0.0

    def __post_init__(self) -> None:
        alone = self.start is not None and self.config.autoencoder.freeze_encoder
        for name, wanted in (("sketches", self.sketches is not None), ("keep", bool(self.kept))):
            if wanted and not alone:
                raise TrainingError(
                    f"--{name} is for a decoder alone: add --init and --set autoencoder.freeze_encoder=true"
                )
        for name, share in (("--keep", self.kept), ("autoencoder.sketch_share", self.config.autoencoder.sketch_share)):
            if not 0 <= share <= 1:
                raise TrainingError(f"{name} is a share from 0 to 1, not {share:g}")

    def task(self, run: Run) -> AutoencoderTask:
        """Return the task at its beginning; see `Recipe.task`."""
        model = _begin(self, run, lambda: make_autoencoder(self.config.autoencoder), self.start)
        return AutoencoderTask(
            self.config,
            self.crops,
            run.device,
            model,
            perceptual=self.perceptual,
            sketches=self.sketches,
            compiled=run.compiled,
        )

    def ingredients(self, task: AutoencoderTask) -> dict[str, str]:
        """Return what tells this training from others; see `Recipe.ingredients`."""
        return {
            "sketches": "" if self.sketches is None else self.sketches.digest,
            "perceptual loss": perceptual_digest(self.perceptual),
        }

    def export(self, task: AutoencoderTask, run: Run) -> None:
        """Write the autoencoder; a new latent space is brought to a standard deviation of 1 first."""
        averaged = task.average.model
        if self.kept and self.start is not None:
            averaged = self._blended(averaged, self.start, run)
        alone = self.config.autoencoder.freeze_encoder
        if not alone:
            # From all over the folder: by name, images of a kind stand together.
            averaged = whitened(averaged, self.crops.train[:: max(1, len(self.crops.train) // _MEASURED)])
        export_autoencoder(averaged, run.model)
        kept = {"kept": self.kept} if self.kept else {}
        _record(run, "decoder" if alone else self.states, self.start, self.record(run) | kept)

    def _blended(self, autoencoder: nn.Module, start: Path, run: Run) -> nn.Module:
        begun = load_network(start, "vae")
        if latent_space_digest(begun) != latent_space_digest(autoencoder):
            raise TrainingError(f"'{start}' has other latents than the decoder in '{run.out}' was trained for")
        return blended(autoencoder, begun, self.kept)


@dataclass(frozen=True)
class UNetRecipe(Recipe[UNetTask]):
    """The second part, on the latents of the first: ``model/unet`` and ``model/scheduler``.

    Attributes:
        config: the settings, of both parts.
        crops: the images.
        start: folder of a model to go on from; its architecture is taken over, and its autoencoder is the one worked
            on where the training's folder has none.
    """

    states: ClassVar[str] = "unet"

    config: TrainConfig
    crops: Crops
    start: Path | None = None

    def task(self, run: Run) -> UNetTask:
        """Return the task at its beginning; see `Recipe.task`."""
        source = run.model if (run.model / "vae").is_dir() else self.start
        if source is None:
            raise TrainingError(f"the U-Net needs an autoencoder: train the part 'vae' in '{run.out}' first")
        autoencoder = load_network(source, "vae")
        latents = stored_latents(run.out, autoencoder, self.crops, run.device)
        model = _begin(self, run, lambda: make_unet(self.config.unet), self.start)
        task = UNetTask(self.config, latents, autoencoder, run.device, model, compiled=run.compiled)
        if source != run.model:  # not before: another command would take it for trained here
            export_autoencoder(autoencoder, run.model)
        return task

    def ingredients(self, task: UNetTask) -> dict[str, str]:
        """Return what tells this training from others; see `Recipe.ingredients`."""
        return {"encoder": task.encoder}

    def export(self, task: UNetTask, run: Run) -> None:
        """Write the U-Net and its noise schedule."""
        export_unet(task.average.model, scheduler_config(self.config.unet), run.model)
        _record(run, self.states, self.start, self.record(run))


def _begin(recipe: Recipe[Any], run: Run, make: Callable[[], nn.Module], start: Path | None) -> nn.Module:
    """Make the network that the first run made, whose weights a state then replaces."""
    part, states = recipe.states, run.out / recipe.states
    kept = states / _ARCHITECTURE
    # The weights depend on the seed alone, and the caller's generator is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.config.seed)
        if kept.is_file() and latest_state(states) is not None:
            architecture = read_json(kept)
            known: nn.Module = getattr(diffusers(), architecture.pop("_class_name")).from_config(architecture)
            return known
        made: Any = load_network(start, part) if start is not None and (start / part).is_dir() else make()
    states.mkdir(parents=True, exist_ok=True)
    architecture = {"_class_name": type(made).__name__, **made.config}
    kept.write_text(json.dumps(architecture, default=str), encoding="utf-8")
    return made  # type: ignore[no-any-return]


def _record(run: Run, part: str, start: Path | None, facts: dict[str, Any]) -> None:
    """Add a training to the record of the exported model."""
    record = run.model / RECORD
    if start is not None and (start / RECORD).is_file() and not record.is_file():
        # What it began from was trained too.
        shutil.copyfile(start / RECORD, record)
    record_part(record, next_part(part, start), facts)
