"""Train a whole model in a folder: the autoencoder, the U-Net on its latents, the exported model."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from rdcodecs.optional import diffusers
from rdcodecs.prior.autoencoders import latent_space_digest
from rdcodecs.prior.folder import read_json
from rdcodecs.prior.load import load_network
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget, Outcome
from rdtrain.core.record import RECORD, training_record
from rdtrain.core.session import Run, settings_digest
from rdtrain.core.settings import keep_settings
from rdtrain.core.state import latest_state
from rdtrain.prior.autoencoder import AutoencoderTask, Sketches, make_autoencoder
from rdtrain.prior.card import next_part, record_part
from rdtrain.prior.export import blended, export_autoencoder, export_unet, whitened
from rdtrain.prior.latents import stored_latents
from rdtrain.prior.losses import Perceptual, perceptual_digest
from rdtrain.prior.settings import TrainConfig
from rdtrain.prior.unet import UNetTask, make_unet, scheduler_config

Part = Literal["vae", "unet"]

MODEL = "model"
"""The exported model, in a training's folder."""
_ARCHITECTURE = "architecture.json"
_MEASURED = 2048
"""Crops, about, on which the latents' spread is measured."""


@dataclass(frozen=True)
class PriorSession:
    """One training in one folder, over any number of runs.

    Attributes:
        out: its folder. ``vae/`` and ``unet/`` get states, logs and pictures, ``model/`` the exported model.
        config: what is trained.
        crops: the images.
        run: where and how.
        perceptual: the autoencoder's perceptual loss.
        start: folder of a model to go on from; its architecture is taken over.
        sketches: what the decoder learns from besides, where the encoder is frozen.
        kept: share of the decoder's weights in `start` that the exported ones keep (`blended`); the encoder must be
            frozen.
    """

    out: Path
    config: TrainConfig
    crops: Crops
    run: Run
    perceptual: Perceptual | None = None
    start: Path | None = None
    sketches: Sketches | None = None
    kept: float = 0.0

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            TrainingError: sketches or a blend without a frozen encoder to begin with, or a share out of its range.
        """
        alone = self.start is not None and self.config.autoencoder.freeze_encoder
        for name, wanted in (("sketches", self.sketches is not None), ("keep", bool(self.kept))):
            if wanted and not alone:
                raise TrainingError(
                    f"--{name} is for a decoder alone: add --init and --set autoencoder.freeze_encoder=true"
                )
        for name, share in (("--keep", self.kept), ("autoencoder.sketch_share", self.config.autoencoder.sketch_share)):
            if not 0 <= share <= 1:
                raise TrainingError(f"{name} is a share from 0 to 1, not {share:g}")

    @property
    def model(self) -> Path:
        """Folder of the exported model."""
        return self.out / MODEL

    def train(self, part: Part, budget: Budget) -> Outcome:
        """Train a part until its budget is spent, and export it unless it was interrupted.

        Raises:
            TrainingError: the state belongs to another training, or the U-Net has no autoencoder to work on.
        """
        return self._train_autoencoder(budget) if part == "vae" else self._train_unet(budget)

    def export(self, part: Part) -> None:
        """Export a part as its last state has it.

        Raises:
            TrainingError: there is no state.
        """
        task = self._autoencoder_task() if part == "vae" else self._unet_task()
        self.run.export(task, self.out / part, lambda: self._export(task))

    def _train_autoencoder(self, budget: Budget) -> Outcome:
        task = self._autoencoder_task()
        judge = {
            "sketches": "" if self.sketches is None else self.sketches.digest,
            "perceptual loss": perceptual_digest(self.perceptual),
        }
        return self._train(task, budget, judge)

    def _train_unet(self, budget: Budget) -> Outcome:
        task = self._unet_task()
        return self._train(task, budget, {"encoder": task.encoder})

    def _train(self, task: AutoencoderTask | UNetTask, budget: Budget, facts: dict[str, str]) -> Outcome:
        facts = {"data": self.crops.digest, "settings": settings_digest(self.config), **facts}
        return self.run.train(
            task,
            self.out / task.name,
            budget,
            facts,
            lambda: keep_settings(self.out, self.config),
            lambda: self._export(task),
        )

    def _export(self, task: AutoencoderTask | UNetTask) -> None:
        averaged = task.average.model
        if isinstance(task, UNetTask):
            export_unet(averaged, scheduler_config(self.config.unet), self.model)
        else:
            if self.kept and self.start is not None:
                averaged = self._blended(averaged, self.start)
            if not self.config.autoencoder.freeze_encoder:
                # From all over the folder: by name, images of a kind stand together.
                averaged = whitened(averaged, self.crops.train[:: max(1, len(self.crops.train) // _MEASURED)])
            export_autoencoder(averaged, self.model)
        if self.start is not None and (self.start / RECORD).is_file() and not (self.model / RECORD).is_file():
            # What it began from was trained too.
            shutil.copyfile(self.start / RECORD, self.model / RECORD)
        facts = training_record(read_log(self.out / task.name), self.config, self.crops, str(self.run.device))
        if self.kept and task.name == "vae":
            facts["kept"] = self.kept
        alone = task.name == "vae" and self.config.autoencoder.freeze_encoder
        record_part(self.model / RECORD, next_part("decoder" if alone else task.name, self.start), facts)

    def _blended(self, autoencoder: nn.Module, start: Path) -> nn.Module:
        begun = load_network(start, "vae")
        if latent_space_digest(begun) != latent_space_digest(autoencoder):
            raise TrainingError(f"'{start}' has other latents than the decoder in '{self.out}' was trained for")
        return blended(autoencoder, begun, self.kept)

    def _autoencoder_task(self) -> AutoencoderTask:
        model = self._begin("vae", lambda: make_autoencoder(self.config.autoencoder))
        return AutoencoderTask(
            self.config,
            self.crops,
            self.run.device,
            model,
            perceptual=self.perceptual,
            sketches=self.sketches,
            compiled=self.run.compiled,
        )

    def _unet_task(self) -> UNetTask:
        source = self.model if (self.model / "vae").is_dir() else self.start
        if source is None:
            raise TrainingError(f"the U-Net needs an autoencoder: train the part 'vae' in '{self.out}' first")
        autoencoder = load_network(source, "vae")
        latents = stored_latents(self.out, autoencoder, self.crops, self.run.device)
        model = self._begin("unet", lambda: make_unet(self.config.unet))
        task = UNetTask(self.config, latents, autoencoder, self.run.device, model, compiled=self.run.compiled)
        if source != self.model:  # not before: another command would take it for trained here
            export_autoencoder(autoencoder, self.model)
        return task

    def _begin(self, part: Part, make: Callable[[], nn.Module]) -> nn.Module:
        """Make the network that the first run made, whose weights a state then replaces."""
        kept = self.out / part / _ARCHITECTURE
        # The weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if kept.is_file() and latest_state(self.out / part) is not None:
                architecture = read_json(kept)
                known: nn.Module = getattr(diffusers(), architecture.pop("_class_name")).from_config(architecture)
                return known
            start = self.start if self.start is not None and (self.start / part).is_dir() else None
            made: Any = make() if start is None else load_network(start, part)
        kept.parent.mkdir(parents=True, exist_ok=True)
        architecture = {"_class_name": type(made).__name__, **made.config}
        kept.write_text(json.dumps(architecture, default=str), encoding="utf-8")
        return made  # type: ignore[no-any-return]
