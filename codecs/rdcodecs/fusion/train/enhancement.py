"""Fidelity enhancement as stages 1 and 2 may have it: pictures are judged as a trained enhancer leaves them."""

from pathlib import Path

import torch
from torch import Tensor

from rdcodecs.fusion.enhancer import Enhancer
from rdcodecs.fusion.renormalize import match_neighbourhoods, window_at
from rdcodecs.fusion.weights import foreign_enhancer
from rdcodecs.hyperprior.config import HyperpriorConfig


class Enhancement:
    """Local renormalization and then the enhancer, as in `FusionCodec`; differentiable.

    Args:
        enhancer: frozen.
        levels: rate levels of the hyperprior.
        digest: of the enhancer's weights.
    """

    def __init__(self, enhancer: Enhancer, levels: int, digest: str) -> None:
        self.digest = digest
        self._enhancer, self._levels = enhancer, levels

    def __call__(self, pictures: Tensor, auxiliary: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
        """Return what the codec shows; see `Enhancer.forward`."""
        windows = [window_at(level, self._levels) for level in levels.tolist()]
        made: Tensor = self._enhancer(match_neighbourhoods(pictures, auxiliary, windows), auxiliary, latents, levels)
        return made


def read_enhancement(folder: Path, hyperprior: HyperpriorConfig, device: torch.device) -> Enhancement:
    """Read an enhancer for a training of what comes before it, which it will then be trained for anew.

    Args:
        folder: of the enhancer.
        hyperprior: shape of the one in training.
        device: where to train.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, of a newer format, or does not fit.
    """
    enhancer, digest = foreign_enhancer(folder, hyperprior)
    return Enhancement(enhancer.requires_grad_(False).eval().to(device), hyperprior.levels, digest)
