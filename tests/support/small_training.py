"""A training of the tiny diffusion model that takes seconds. Run as a program it trains until it is killed."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdtrain.core.data import Crops, Reader, read_crops
from rdtrain.core.loop import Budget, Rhythm, Run
from rdtrain.core.recipe import Training
from rdtrain.prior.autoencoder import AutoencoderTask
from rdtrain.prior.recipes import AutoencoderRecipe, UNetRecipe
from rdtrain.prior.settings import PRESETS, TrainConfig
from rdtrain.prior.unet import UNetTask

CONFIG = PRESETS["micro"]


def smooth_images(count: int, side: int = 80) -> list[tuple[str, Reader]]:
    """Coloured gradients with some texture."""

    def reader(index: int) -> Reader:
        def read() -> Any:
            rng = np.random.default_rng(index)
            ramp = np.linspace(0, 1, side)
            plane = ramp[:, None, None] * rng.uniform(0, 120, 3) + ramp[None, :, None] * rng.uniform(0, 120, 3)
            return (plane + rng.uniform(0, 15, plane.shape)).round().astype(np.uint8)

        return read

    return [(f"{index:03d}.png", reader(index)) for index in range(count)]


def small_crops(config: TrainConfig = CONFIG, count: int = 12) -> Crops:
    return read_crops(smooth_images(count), side=config.store, per_image=1, held_out=0.2)


def l2_distance(images: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Stands for a perceptual distance: of the right form, and cheap."""
    return (images - reference).square().mean(dim=(1, 2, 3))


def make_run(out: Path, **changes: Any) -> Run:
    """A run on the CPU; `changes` are attributes of it or of its rhythm."""
    rhythm = {"log_steps": 2, "look_seconds": 1e9, "save_seconds": 1e9}
    rhythm |= {name: changes.pop(name) for name in list(rhythm) if name in changes}
    return Run(out, torch.device("cpu"), **{"rhythm": Rhythm(**rhythm), **changes})


@dataclasses.dataclass(frozen=True)
class PriorTrainings:
    """Both parts of a prior, in one folder."""

    vae: Training[AutoencoderTask]
    unet: Training[UNetTask]

    @property
    def run(self) -> Run:
        return self.vae.run


def prior_trainings(out: Path, config: TrainConfig = CONFIG, **changes: Any) -> PriorTrainings:
    """Trainings; `changes` are attributes of the recipes or of the run."""
    own = {name: changes.pop(name) for name in ("crops", "perceptual", "start", "sketches", "kept") if name in changes}
    parts: dict[str, Any] = {"crops": small_crops(config), "perceptual": l2_distance, **own}
    both = {name: parts[name] for name in ("crops", "start") if name in parts}
    run = make_run(out, **changes)
    return PriorTrainings(Training(AutoencoderRecipe(config, **parts), run), Training(UNetRecipe(config, **both), run))


def changed(training: Training[Any], **changes: Any) -> Training[Any]:
    """The same training, of a recipe that was changed."""
    return dataclasses.replace(training, recipe=dataclasses.replace(training.recipe, **changes))  # type: ignore[type-var]


if __name__ == "__main__":
    # A state after every step.
    every_step = Rhythm(log_steps=2, look_seconds=1e9, save_seconds=0)
    trainings = prior_trainings(Path(sys.argv[1]), rhythm=every_step)
    (trainings.vae if sys.argv[2] == "vae" else trainings.unet).train(Budget(steps=int(sys.argv[3])))
