"""What stages 2 and 3 are trained from and judged by, and what they leave for the codec to read."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from rdcodecs.digests import network_digest
from rdcodecs.fusion.codec import FOLDER
from rdcodecs.fusion.config import KINDS, Kind
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.enhancer import Enhancer
from rdcodecs.fusion.weights import (
    ENHANCER,
    load_control,
    make_control,
    make_enhancer,
    save_control,
    save_enhancer,
    trainable_control,
    trainable_enhancer,
)
from rdcodecs.hyperprior.codec import FOLDER as HYPERPRIOR
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.loop import Run
from rdtrain.core.picture_distance import Perceptual, PictureDistance, perceptual_digest
from rdtrain.core.recipe import Recipe, bring_along
from rdtrain.core.record import record_and_card
from rdtrain.fusion.control import FusionTask
from rdtrain.fusion.enhancement import Enhancement
from rdtrain.fusion.enhancer import EnhancerTask
from rdtrain.fusion.frozen_codec import FrozenCodec
from rdtrain.fusion.settings import EnhancerTrainConfig, FusionTrainConfig
from rdtrain.prior.trajectory import TrajectoryLoss

_ABOUT_CONTROL = (
    "Adapter and fusion of the codec `fusion`, trained (stage 2) for the prior and the hyperprior that `config.json` "
    "names by the SHA-256 of their weights; neither moved. fp16. The curve gives the mean squared error of what the "
    "prior predicts, at five noise levels, over all rate levels."
)
_ABOUT_ENHANCER = (
    "Fidelity enhancement of the codec `fusion`, trained (stage 3) on what it draws, with every kind of fusion that "
    "was there, for the autoencoder and the hyperprior that `config.json` names by the SHA-256 of their weights; "
    "nothing of these moved. fp16. The curve gives the terms of the loss at five denoising steps, mean over all "
    "rate levels, after the enhancer and (unenhanced) before it."
)


@dataclass(frozen=True)
class FusionRecipe(Recipe[FusionTask]):
    """Stage 2: a control. ``model/`` gets it (``fusion/KIND/``) beside a copy of the hyperprior, as the codec reads it.

    Attributes:
        config: the settings.
        crops: the images.
        codec: hyperprior and prior.
        perceptual: the perceptual loss, where the settings give pictures a weight.
        enhancement: of the pictures that are renormalized before they are judged, if any.
        start: folder of a control to go on from, of the shape that the settings name.
    """

    states: ClassVar[str] = "stage-2"

    config: FusionTrainConfig
    crops: Crops
    codec: FrozenCodec
    perceptual: Perceptual | None = None
    enhancement: Enhancement | None = None
    start: Path | None = None

    def task(self, run: Run) -> FusionTask:
        """Return the task at its beginning; see `Recipe.task`."""
        pictures = self.config.pictures
        judged = pictures.weight and pictures.images and pictures.begin < 1
        if self.enhancement is not None and not (judged and self.config.renormalized):
            raise TrainingError(
                "an enhancer changes pictures that are judged and renormalized: set pictures.weight and renormalized "
                "above 0, pictures.begin below 1, or name no enhancer"
            )
        control = self._control()
        if control.config != self.config.shape:
            raise TrainingError(f"'{self.start}' has another shape than the settings: {control.config}")
        judge = TrajectoryLoss(pictures, self.codec.prior, self.perceptual, span=self.config.shape.span)
        return FusionTask(self.config, self.crops, run.device, control, self.codec, judge, enhancement=self.enhancement)

    def ingredients(self, task: FusionTask) -> dict[str, str]:
        """Return what tells this training from others; see `Recipe.ingredients`."""
        named = {
            "prior": network_digest(self.codec.prior.unet),
            "autoencoder": network_digest(self.codec.prior.vae),
            "hyperprior": self.codec.hyperprior.digest.hex(),
            "perceptual loss": perceptual_digest(self.perceptual),
        }
        return named | ({} if self.enhancement is None else {"enhancer": self.enhancement.digest})

    def export(self, task: FusionTask, run: Run) -> None:
        """Write the control and the hyperprior that it was trained for."""
        hyperprior = self.codec.hyperprior
        bring_along(hyperprior.folder, run.model / HYPERPRIOR)
        folder = run.model / FOLDER / self.config.shape.kind
        save_control(folder, task.average.model, self.codec.prior, hyperprior)
        about = _ABOUT_CONTROL
        if self.enhancement is not None:
            about += (
                " Pictures that were renormalized before they were judged went through an enhancer then, its weights' "
                f"SHA-256 {self.enhancement.digest}."
            )
        record_and_card(folder, self.record(run), f"Control of the fusion codec, {self.config.shape.kind}", about)

    def _control(self) -> Control:
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if self.start is None:
                return make_control(self.config.shape, self.codec.prior, self.codec.hyperprior)
            control = trainable_control(self.start, self.codec.prior, self.codec.hyperprior)
            # How far its sampler went is no part of its weights.
            control.config = dataclasses.replace(control.config, span=self.config.shape.span)
            return control


def read_controls(weights: Path, codec: FrozenCodec) -> dict[Kind, Control]:
    """Return the controls that a folder of weights has, by kind.

    Raises:
        TrainingError: it has none.
        CodecError: one was trained for another prior or hyperprior.
    """
    folders = {kind: weights / FOLDER / kind for kind in KINDS}
    found = {
        kind: load_control(path, codec.prior, codec.hyperprior)[0] for kind, path in folders.items() if path.is_dir()
    }
    if not found:
        raise TrainingError(f"'{weights}' holds no control: train stage 2 first")
    return found


@dataclass(frozen=True)
class EnhancerRecipe(Recipe[EnhancerTask]):
    """Stage 3: an enhancer. ``model/`` gets it (``fusion/enhancer/``) beside copies of hyperprior and controls.

    Attributes:
        config: the settings.
        crops: the images.
        codec: hyperprior and prior.
        weights: folder that the hyperprior and the controls are of.
        controls: of `read_controls`.
        perceptual: the perceptual loss, if any.
        start: folder of an enhancer to go on from, of the shape that the settings name or without its entry for
            latents.
    """

    states: ClassVar[str] = "stage-3"

    config: EnhancerTrainConfig
    crops: Crops
    codec: FrozenCodec
    weights: Path
    controls: Mapping[Kind, Control]
    perceptual: Perceptual | None = None
    start: Path | None = None

    def task(self, run: Run) -> EnhancerTask:
        """Return the task at its beginning; see `Recipe.task`."""
        config = self.config
        judge = PictureDistance(
            self.perceptual,
            pixel_weight=config.pixel_weight,
            ms_ssim_weight=config.ms_ssim_weight,
            perceptual_weight=config.perceptual_weight,
        )
        controls = list(self.controls.values())
        return EnhancerTask(config, self.crops, run.device, self._enhancer(), controls, self.codec, judge)

    def ingredients(self, task: EnhancerTask) -> dict[str, str]:
        """Return what tells this training from others; see `Recipe.ingredients`."""
        return {
            "autoencoder": network_digest(self.codec.prior.vae),
            "hyperprior": self.codec.hyperprior.digest.hex(),
            "controls": " ".join(network_digest(control) for control in self.controls.values()),
            "perceptual loss": perceptual_digest(self.perceptual),
        }

    def export(self, task: EnhancerTask, run: Run) -> None:
        """Write the enhancer, and what it was trained behind."""
        for part in (HYPERPRIOR, *(f"{FOLDER}/{kind}" for kind in self.controls)):
            bring_along(self.weights / part, run.model / part)
        folder = run.model / FOLDER / ENHANCER
        save_enhancer(folder, task.average.model, self.codec.prior, self.codec.hyperprior)
        record_and_card(folder, self.record(run), "Enhancer of the fusion codec", _ABOUT_ENHANCER)

    def _enhancer(self) -> Enhancer:
        shape, hyperprior = self.config.shape, self.codec.hyperprior.config
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if self.start is None:
                return make_enhancer(shape, hyperprior)
            try:
                return trainable_enhancer(self.start, shape, hyperprior)
            except ValueError as error:
                raise TrainingError(str(error)) from error
