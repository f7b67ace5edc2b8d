"""What pictures are judged by: mean absolute error, MS-SSIM, and a perceptual distance of one's choice."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.digests import network_digest

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""A differentiable distance of two batches (N, 3, H, W) in [-1, 1], one value per image."""


def perceptual_digest(perceptual: Perceptual | None) -> str:
    """Return what tells one distance from another: a SHA-256 of a network's weights, a function's name, or none."""
    if isinstance(perceptual, nn.Module):
        return network_digest(perceptual)
    return "none" if perceptual is None else getattr(perceptual, "__name__", type(perceptual).__name__)


def ms_ssim_loss(images: Tensor, reference: Tensor) -> Tensor:
    """Return 1 - MS-SSIM of each image, shape (N,); the window is 11 wide, or as wide as five scales allow.

    Args:
        images: shape (N, 3, H, W) in about [-1, 1], sides at least 48.
        reference: likewise.
    """
    from pytorch_msssim import ms_ssim

    room = (min(images.shape[-2:]) - 1) // 16
    window = min(11, room if room % 2 else room - 1)
    made, true = images.add(1) / 2, reference.add(1) / 2
    value: Tensor = ms_ssim(made, true, data_range=1.0, size_average=False, win_size=window)
    return 1 - value


@dataclass(frozen=True)
class PictureDistance:
    """A weighted sum of distances between pictures and what they should be.

    Attributes:
        perceptual: without one that term is left out.
        pixel_weight: of the mean absolute error, on [-1, 1].
        ms_ssim_weight: of 1 - MS-SSIM; 0 leaves it out.
        perceptual_weight: of the perceptual distance.
    """

    perceptual: Perceptual | None
    pixel_weight: float = 1.0
    ms_ssim_weight: float = 0.0
    perceptual_weight: float = 1.0

    def terms(self, made: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Return the terms, scalars, weights included.

        Args:
            made: shape (N, 3, H, W), about [-1, 1].
            images: wanted, likewise.
        """
        terms = {"l1": self.pixel_weight * functional.l1_loss(made, images)}
        if self.ms_ssim_weight:
            terms["ms_ssim"] = self.ms_ssim_weight * ms_ssim_loss(made, images).mean()
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual_weight * self.perceptual(made, images).mean()
        return terms

    def __call__(self, made: Tensor, images: Tensor) -> Tensor:
        """Return their sum, a scalar."""
        return torch.stack(list(self.terms(made, images).values())).sum()
