"""Train a control in a folder, for a prior and a hyperprior that are there, and export it as the codec reads it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from rdcodecs.digests import network_digest
from rdcodecs.fusion.codec import FOLDER
from rdcodecs.fusion.weights import make_control, save_control, trainable_control
from rdcodecs.hyperprior.codec import FOLDER as HYPERPRIOR
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.prior import Prior
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.record import record_and_card, training_record
from rdtrain.core.session import Run, Session, bring_along, settings_digest
from rdtrain.fusion.enhancement import Enhancement
from rdtrain.fusion.settings import FusionTrainConfig
from rdtrain.fusion.task import FusionTask
from rdtrain.prior.losses import Perceptual, perceptual_digest

_ABOUT = (
    "Adapter and fusion of the codec `fusion`, trained (stage 2) for the prior and the hyperprior that `config.json` "
    "names by the SHA-256 of their weights; neither moved. fp16. The curve gives the mean squared error of what the "
    "prior predicts, at five noise levels, over all rate levels."
)


@dataclass(frozen=True)
class FusionSession(Session[FusionTask]):
    """One training in one folder, over any number of runs.

    Attributes:
        out: its folder. ``stage-2/`` gets states, log and pictures, ``model/`` the exported control (``fusion/KIND/``)
            beside a copy of the hyperprior: what the codec takes as its weights.
        config: what is trained.
        crops: the images.
        prior: frozen, in float32, on the device.
        hyperprior: frozen, on the device.
        run: where and how.
        perceptual: the perceptual loss, where the settings give it a weight.
        start: folder of a control to go on from, of the shape that the settings name.
        enhancement: of the pictures that are renormalized before they are judged, if any.
    """

    out: Path
    config: FusionTrainConfig
    crops: Crops
    prior: Prior
    hyperprior: TrainedHyperprior
    run: Run
    perceptual: Perceptual | None = None
    start: Path | None = None
    enhancement: Enhancement | None = None

    @property
    def _states(self) -> Path:
        return self.out / "stage-2"

    def _facts(self, task: FusionTask) -> dict[str, str]:
        facts = {
            "data": self.crops.digest,
            "settings": settings_digest(self.config),
            "prior": network_digest(self.prior.unet),
            "autoencoder": network_digest(self.prior.vae),
            "hyperprior": self.hyperprior.digest.hex(),
            "perceptual loss": perceptual_digest(self.perceptual),
        }
        return facts | ({} if self.enhancement is None else {"enhancer": self.enhancement.digest})

    def _write(self, task: FusionTask) -> None:
        model = self.out / "model"
        bring_along(self.hyperprior.folder, model / HYPERPRIOR)
        folder = model / FOLDER / self.config.shape.kind
        save_control(folder, task.average.model, self.prior, self.hyperprior)
        facts = training_record(read_log(self._states), self.config, self.crops, str(self.run.device))
        about = _ABOUT
        if self.enhancement is not None:
            about += (
                " Pictures that were renormalized before they were judged went through an enhancer then, its weights' "
                f"SHA-256 {self.enhancement.digest}."
            )
        record_and_card(folder, facts, f"Control of the fusion codec, {self.config.shape.kind}", about)

    def _task(self) -> FusionTask:
        pictures = self.config.pictures
        judged = pictures.weight and pictures.images and pictures.begin < 1
        if self.enhancement is not None and not (judged and self.config.renormalized):
            raise TrainingError(
                "an enhancer changes pictures that are judged and renormalized: set pictures.weight and renormalized "
                "above 0, pictures.begin below 1, or name no enhancer"
            )
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if self.start is None:
                control = make_control(self.config.shape, self.prior, self.hyperprior)
            else:
                control = trainable_control(self.start, self.prior, self.hyperprior)
                # How far its sampler went is no part of its weights.
                control.config = dataclasses.replace(control.config, span=self.config.shape.span)
        if control.config != self.config.shape:
            raise TrainingError(f"'{self.start}' has another shape than the settings: {control.config}")
        return FusionTask(
            self.config,
            self.crops,
            self.run.device,
            control,
            self.prior,
            self.hyperprior,
            perceptual=self.perceptual,
            enhancement=self.enhancement,
        )
