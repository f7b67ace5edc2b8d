"""A training of the tiny diffusion model that takes seconds. Run as a program it trains until it is killed."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdtrain.core.data import Crops, Reader, read_crops
from rdtrain.core.loop import Budget, Rhythm
from rdtrain.core.session import Run
from rdtrain.prior.session import PriorSession
from rdtrain.prior.settings import PRESETS, TrainConfig

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


def make_run(**changes: Any) -> Run:
    """A run on the CPU; `changes` are attributes of it or of its rhythm."""
    rhythm = {"log_steps": 2, "look_seconds": 1e9, "save_seconds": 1e9}
    rhythm |= {name: changes.pop(name) for name in list(rhythm) if name in changes}
    return Run(torch.device("cpu"), **{"rhythm": Rhythm(**rhythm), **changes})


def make_session(out: Path, config: TrainConfig = CONFIG, **changes: Any) -> PriorSession:
    """A session; `changes` are attributes of the session or of its run."""
    own = {name: changes.pop(name) for name in ("crops", "perceptual", "start", "sketches", "kept") if name in changes}
    settings: dict[str, Any] = {"crops": small_crops(config), "perceptual": l2_distance, **own}
    return PriorSession(out, config, run=make_run(**changes), **settings)


if __name__ == "__main__":
    part = sys.argv[2]
    # A state after every step.
    make_session(Path(sys.argv[1]), rhythm=Rhythm(log_steps=2, look_seconds=1e9, save_seconds=0)).train(
        "vae" if part == "vae" else "unet", Budget(steps=int(sys.argv[3]))
    )
