"""Train a PerCo in a folder, from a prior, and export it as the codec reads it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from rdcodecs.digests import network_digest
from rdcodecs.perco.train.config import PerCoTrainConfig
from rdcodecs.perco.train.network import PerCoNetwork
from rdcodecs.perco.train.tables import collect_indices, learn_tables
from rdcodecs.perco.train.task import PerCoTask
from rdcodecs.perco.weights import FOLDER, save_perco
from rdcodecs.prior import Prior, load
from rdcodecs.prior.folder import locate
from rdcodecs.prior.train.latents import Latents, make_latents
from rdcodecs.prior.train.losses import Perceptual
from rdcodecs.training.data import Crops
from rdcodecs.training.errors import TrainingError
from rdcodecs.training.loop import Budget, Outcome
from rdcodecs.training.session import Run, settings_digest

_SHARED = ("vae", "scheduler", "text_encoder", "tokenizer")
_COUNTED = 8192
"""Latents, about, on which indices are counted."""


@dataclass(frozen=True)
class PerCoSession:
    """One training in one folder, over any number of runs.

    Attributes:
        out: its folder. ``perco/`` gets states, log and pictures, ``model/`` the model, with the parts of the prior
            that it needs; ``model/perco/`` is what is new.
        config: what is trained.
        crops: the images.
        prior: what to begin from: ``tiny``, a folder or a hub id.
        run: where and how.
        perceptual: the perceptual loss, where the settings give it a weight.
    """

    out: Path
    config: PerCoTrainConfig
    crops: Crops
    prior: str
    run: Run
    perceptual: Perceptual | None = None

    def train(self, budget: Budget) -> Outcome:
        """Train until the budget is spent, and export unless it was interrupted.

        Raises:
            TrainingError: the state in the folder belongs to another training, or the settings do not fit.
        """
        prior = self._load()
        facts = {
            "data": self.crops.digest,
            "settings": settings_digest(self.config),
            "prior": network_digest(prior.unet),
            "autoencoder": network_digest(prior.vae),
        }
        latents = make_latents(prior.vae, self.crops, self.run.device)
        task = self._task(prior, latents)
        return self.run.train(task, self._states, budget, facts, lambda: self._write(task, prior, latents))

    def export(self) -> None:
        """Export the model as its last state has it.

        Raises:
            TrainingError: there is no state.
        """
        prior = self._load()
        latents = make_latents(prior.vae, self.crops, self.run.device)
        task = self._task(prior, latents)
        self.run.export(task, self._states, lambda: self._write(task, prior, latents))

    @property
    def _states(self) -> Path:
        return self.out / "perco"

    def _load(self) -> Prior:
        # In single precision also on a GPU: it is trained under autocast.
        return load(self.prior, dtype=torch.float32, device=self.run.device)

    def _task(self, prior: Prior, latents: Latents) -> PerCoTask:
        try:
            points = self.config.rate_points(prior.channels)
        except ValueError as error:
            raise TrainingError(f"the settings do not fit: {error}") from error
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = PerCoNetwork(prior.unet, points)
        return PerCoTask(self.config, latents, self.run.device, network, prior, perceptual=self.perceptual)

    def _write(self, task: PerCoTask, prior: Prior, latents: Latents) -> None:
        averaged = task.average.model
        # The averages that codebooks were trained by are no weights: they are taken as they are.
        for ours, theirs in zip(averaged.points, task.model.points, strict=True):
            for (_, buffer), (_, trained) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
                buffer.copy_(trained)
        counted = latents.train[:: max(1, len(latents.train) // _COUNTED)]
        tables = [
            learn_tables(collect_indices(encoder, counted, self.run.device), encoder.config.codebook_size)
            for encoder in averaged.points
        ]
        model = self.out / "model"
        save_perco(model / FOLDER, averaged.unet, averaged.points, tables, prior.vae)
        home = locate(self.prior)
        for part in _SHARED:
            if (home / part).is_dir():
                shutil.copytree(home / part, model / part, dirs_exist_ok=True)
