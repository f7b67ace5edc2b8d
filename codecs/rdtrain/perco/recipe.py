"""What a PerCo is trained from and judged by, and what it leaves for the codec to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import torch

from rdcodecs.digests import network_digest
from rdcodecs.perco.weights import FOLDER, load_networks, save_perco
from rdcodecs.prior import load
from rdcodecs.prior.folder import locate
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.loop import Run
from rdtrain.core.picture_distance import Perceptual, perceptual_digest
from rdtrain.core.recipe import Recipe, bring_along
from rdtrain.core.record import record_and_card, table
from rdtrain.perco.index_tables import collect_indices, learn_tables
from rdtrain.perco.network import PerCoNetwork
from rdtrain.perco.settings import PerCoTrainConfig
from rdtrain.perco.task import PerCoTask
from rdtrain.prior.latents import stored_latents
from rdtrain.prior.trajectory import TrajectoryLoss

_SHARED = ("vae", "scheduler", "text_encoder", "tokenizer")
_COUNTED = 8192
"""Latents, about, on which indices are counted."""

_ABOUT = (
    "One U-Net for all rate points, fine-tuned whole from a prior, with a hyper-encoder and a codebook for each: what "
    "the codec `perco` reads. fp16. On held-out crops at the end, `loss` being the mean squared error of what the "
    "U-Net predicts, over five noise levels, and `used` the share of a codebook's entries that occur:"
)


@dataclass(frozen=True)
class PerCoRecipe(Recipe[PerCoTask]):
    """A PerCo. ``model/`` gets it, with the parts of the prior that it needs; ``model/perco/`` is what is new.

    Attributes:
        config: the settings.
        crops: the images.
        prior: what to begin from: ``tiny``, a folder or a hub id.
        perceptual: the perceptual loss, where the settings give pictures a weight.
        start: folder of a trained PerCo to go on from, of the rate points that the settings name and a prior of the
            same shape.
    """

    states: ClassVar[str] = "perco"

    config: PerCoTrainConfig
    crops: Crops
    prior: str
    perceptual: Perceptual | None = None
    start: Path | None = None

    def task(self, run: Run) -> PerCoTask:
        """Return the task at its beginning; see `Recipe.task`."""
        # In single precision also on a GPU: it is trained under autocast.
        prior = load(self.prior, dtype=torch.float32, device=run.device)
        latents = stored_latents(run.out, prior.vae, self.crops, run.device)
        try:
            points = self.config.rate_points(prior.channels)
        except ValueError as error:
            raise TrainingError(f"the settings do not fit: {error}") from error
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = PerCoNetwork(prior.unet, points)
        if self.start is not None:
            self._go_on(network, self.start)
        judge = TrajectoryLoss(self.config.pictures, prior, self.perceptual)
        return PerCoTask(self.config, latents, run.device, network, prior, judge)

    def ingredients(self, task: PerCoTask) -> dict[str, str]:
        """Return what tells this training from others; see `Recipe.ingredients`."""
        return {
            "prior": task.origin,
            "autoencoder": network_digest(task.prior.vae),
            "perceptual loss": perceptual_digest(self.perceptual),
        }

    def export(self, task: PerCoTask, run: Run) -> None:
        """Write the model, with the tables that its indices are coded by."""
        latents = task.latents.train
        averaged = task.average.model
        # The averages that codebooks were trained by are no weights: they are taken as they are.
        for ours, theirs in zip(averaged.points, task.model.points, strict=True):
            for (_, buffer), (_, trained) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
                buffer.copy_(trained)
        counted = latents[:: max(1, len(latents) // _COUNTED)]
        tables = [
            learn_tables(collect_indices(encoder, counted, run.device), encoder.config.codebook_size)
            for encoder in averaged.points
        ]
        model = run.model
        save_perco(model / FOLDER, averaged.unet, averaged.points, tables, task.prior.vae)
        rows = self._rate_points(task)
        facts = self.record(run)
        facts["rate_points"] = rows
        facts["curve"] = [{key: line[key] for key in ("step", "seconds", "loss")} for line in facts["curve"]]
        record_and_card(model / FOLDER, facts, "PerCo", "\n".join([_ABOUT, "", *table(rows)]))
        home = locate(self.prior)
        for part in _SHARED:
            if (home / part).is_dir():
                bring_along(home / part, model / part)

    def _go_on(self, network: PerCoNetwork, start: Path) -> None:
        unet, encoders = load_networks(start)
        theirs, ours = ([encoder.config for encoder in each] for each in (encoders, network.points))
        apart = next((pair for pair in zip_longest(theirs, ours) if pair[0] != pair[1]), None)
        if apart is not None:
            raise TrainingError(f"'{start}' has the hyper-encoder {apart[0]} where the settings have {apart[1]}")
        try:
            network.unet.load_state_dict(unet.state_dict())
        except RuntimeError as error:
            raise TrainingError(f"'{start}' has another U-Net than the prior '{self.prior}'") from error
        for point, encoder in zip(network.points, encoders, strict=True):
            point.load_state_dict(encoder.state_dict())

    def _rate_points(self, task: PerCoTask) -> Sequence[Mapping[str, Any]]:
        """Return a row for each rate point, with figures on held-out crops."""
        figures = task.evaluate()
        return [
            {
                "bits per pixel, indices equally likely": point.bits_per_pixel(),
                "codebook": point.codebook_size,
                **{name: figures[f"{name}_{level}"] for name in ("loss", "perplexity", "used")},
            }
            for level, point in enumerate(self.config.rate_points(task.prior.channels))
        ]
