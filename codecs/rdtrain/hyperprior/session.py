"""Train a hyperprior in a folder, and export it as the codec reads it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rdcodecs.digests import network_digest
from rdcodecs.hyperprior.codec import FOLDER
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.weights import trainable_hyperprior
from rdcodecs.prior import Prior
from rdcodecs.prior.autoencoders import latent_space_digest
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.record import record_and_card, training_record
from rdtrain.core.session import Run, Session, settings_digest
from rdtrain.hyperprior.export import export_hyperprior
from rdtrain.hyperprior.settings import HyperpriorTrainConfig
from rdtrain.hyperprior.sketch_loss import PictureEnhancement, SketchLoss
from rdtrain.hyperprior.task import HyperpriorTask
from rdtrain.prior.losses import Perceptual, perceptual_digest

_ABOUT = (
    "Encoder, entropy model and auxiliary decoder, trained at all rate levels at once: stage 1 of the codec `fusion`, "
    "which the codec `hyperprior` reads too. Transforms in fp16; what entropy coding rests on in integers. The curve "
    "gives estimated bits a pixel and PSNR at every level."
)
_PLAIN = " Trained for squared error and nothing else."
_SKETCHED = (
    " Trained for squared error and for a diffusion model: a further decoder draws sketches, its latents "
    "(`config.json` has the SHA-256 of its encoder and scaling), and the encoder is also judged by the pictures that "
    "they decode to; the curve gives their distance (`sketch`) and mean absolute error (`sketch_l1`)."
)


@dataclass(frozen=True)
class HyperpriorSession(Session[HyperpriorTask]):
    """One training in one folder, over any number of runs.

    Attributes:
        out: its folder. ``stage-1/`` gets states, log and pictures, ``model/hyperprior/`` the exported model.
        config: what is trained.
        crops: the images.
        run: where and how.
        start: folder of a hyperprior to go on from, of the shape that the settings name; it may lack
            the context model, the sketch decoder or blocks of it, have a sketch decoder that is left out, or round
            otherwise.
        prior: frozen, in float32, on the device: what sketches are drawn for, where the settings name some.
        perceptual: distance of the pictures that sketches decode to.
        enhancement: of these, before they are judged, if any.
    """

    out: Path
    config: HyperpriorTrainConfig
    crops: Crops
    run: Run
    start: Path | None = None
    prior: Prior | None = None
    perceptual: Perceptual | None = None
    enhancement: PictureEnhancement | None = None

    @property
    def _states(self) -> Path:
        return self.out / "stage-1"

    @property
    def _sketch_prior(self) -> str:
        return "" if self.prior is None else latent_space_digest(self.prior.vae)

    def _facts(self, task: HyperpriorTask) -> dict[str, str]:
        facts = {"data": self.crops.digest, "settings": settings_digest(self.config)}
        if self.prior is None:
            return facts
        judge = {"prior": network_digest(self.prior.vae), "perceptual loss": perceptual_digest(self.perceptual)}
        return facts | judge | ({} if self.enhancement is None else {"enhancer": self.enhancement.digest})

    def _write(self, task: HyperpriorTask) -> None:
        folder = self.out / "model" / FOLDER
        export_hyperprior(task.average.model, self.crops.train, folder, sketch_prior=self._sketch_prior)
        facts = training_record(read_log(self._states), self.config, self.crops, str(self.run.device))
        about = _ABOUT + (_PLAIN if self.prior is None else _SKETCHED)
        if self.enhancement is not None:
            digest = self.enhancement.digest
            about += f" These pictures are judged as an enhancer leaves them, its weights' SHA-256 {digest}."
        record_and_card(folder, facts, "A hyperprior codec", about)

    def _task(self) -> HyperpriorTask:
        wanted = self.config.model
        if bool(wanted.sketch_channels) != (self.prior is not None):
            raise TrainingError("sketches are drawn for a prior: model.sketch_channels and a prior go together")
        if self.prior is not None and (wanted.sketch_channels, wanted.sketch_stride) != (
            self.prior.channels,
            self.prior.stride,
        ):
            raise TrainingError(
                f"sketches for '{self.prior.name}' need model.sketch_channels={self.prior.channels} and "
                f"model.sketch_stride={self.prior.stride}"
            )
        if self.enhancement is not None and not (self.prior and self.config.sketch.images and self.config.fitted_from):
            raise TrainingError(
                "an enhancer changes the pictures of sketches that are judged: name a prior, with sketch.images and "
                "fitted_from above 0, or no enhancer"
            )
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = Hyperprior(wanted) if self.start is None else _grown(self.start, wanted)
        judge = None
        if self.prior is not None:
            judge = SketchLoss(self.config.sketch, self.prior, self.perceptual, self.enhancement)
        return HyperpriorTask(self.config, self.crops, self.run.device, model, compiled=self.run.compiled, judge=judge)


def _grown(start: Path, wanted: HyperpriorConfig) -> Hyperprior:
    try:
        return trainable_hyperprior(start, wanted)
    except ValueError as error:
        raise TrainingError(str(error)) from error
