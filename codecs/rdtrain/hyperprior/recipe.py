"""What stage 1 is trained from and judged by, and what it leaves for the codec to read."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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
from rdtrain.core.loop import Run
from rdtrain.core.picture_distance import Perceptual, perceptual_digest
from rdtrain.core.recipe import Recipe
from rdtrain.core.record import record_and_card
from rdtrain.hyperprior.export import export_hyperprior
from rdtrain.hyperprior.settings import HyperpriorTrainConfig
from rdtrain.hyperprior.sketch_loss import PictureEnhancement, SketchLoss
from rdtrain.hyperprior.task import HyperpriorTask

_ABOUT = (
    "Encoder, entropy model and auxiliary decoder, trained at all rate levels at once: stage 1 of the codec `fusion`, "
    "which the codec `hyperprior` reads too. Transforms in fp16; what entropy coding rests on in integers. The curve "
    "gives estimated bits per pixel and PSNR at every level."
)
_PLAIN = " Trained for squared error and nothing else."
_SKETCHED = (
    " Trained for squared error and for a diffusion model: a further decoder draws sketches, its latents "
    "(`config.json` has the SHA-256 of its encoder and scaling), and the encoder is also judged by the pictures that "
    "they decode to; the curve gives their distance (`sketch`) and mean absolute error (`sketch_l1`)."
)


@dataclass(frozen=True)
class HyperpriorRecipe(Recipe[HyperpriorTask]):
    """Stage 1: encoder, entropy model and auxiliary decoder. ``model/hyperprior/`` gets them.

    Attributes:
        config: the settings.
        crops: the images.
        prior: frozen, in float32, on the device: what sketches are drawn for, where the settings name some.
        perceptual: distance of the pictures that sketches decode to.
        enhancement: of these, before they are judged, if any.
        start: folder of a hyperprior to go on from, of the shape that the settings name; it may lack
            the context model, the sketch decoder or blocks of it, have a sketch decoder that is left out, or round
            otherwise.
    """

    states: ClassVar[str] = "stage-1"

    config: HyperpriorTrainConfig
    crops: Crops
    prior: Prior | None = None
    perceptual: Perceptual | None = None
    enhancement: PictureEnhancement | None = None
    start: Path | None = None

    def task(self, run: Run) -> HyperpriorTask:
        """Return the task at its beginning; see `Recipe.task`."""
        self._check()
        wanted = self.config.model
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = Hyperprior(wanted) if self.start is None else _grown(self.start, wanted)
        judge = None
        if self.prior is not None:
            judge = SketchLoss(self.config.sketch, self.prior, self.perceptual, self.enhancement)
        return HyperpriorTask(self.config, self.crops, run.device, model, compiled=run.compiled, judge=judge)

    def ingredients(self, task: HyperpriorTask) -> dict[str, str]:
        """Return what tells this training from others; see `Recipe.ingredients`."""
        if self.prior is None:
            return {}
        judge = {"prior": network_digest(self.prior.vae), "perceptual loss": perceptual_digest(self.perceptual)}
        return judge | ({} if self.enhancement is None else {"enhancer": self.enhancement.digest})

    def export(self, task: HyperpriorTask, run: Run) -> None:
        """Write the hyperprior with the tables of its entropy coding."""
        folder = run.model / FOLDER
        sketch_prior = "" if self.prior is None else latent_space_digest(self.prior.vae)
        export_hyperprior(task.average.model, self.crops.train, folder, sketch_prior=sketch_prior)
        about = _ABOUT + (_PLAIN if self.prior is None else _SKETCHED)
        if self.enhancement is not None:
            digest = self.enhancement.digest
            about += f" These pictures are judged as an enhancer leaves them, its weights' SHA-256 {digest}."
        record_and_card(folder, self.record(run), "A hyperprior codec", about)

    def _check(self) -> None:
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


def _grown(start: Path, wanted: HyperpriorConfig) -> Hyperprior:
    try:
        return trainable_hyperprior(start, wanted)
    except ValueError as error:
        raise TrainingError(str(error)) from error
