"""What sketches are judged by: how near the prior's autoencoder brings them to the image."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.hyperprior.model import Estimate
from rdcodecs.prior import Prior
from rdtrain.core.picture_distance import Perceptual, ms_ssim_loss
from rdtrain.hyperprior.settings import SketchSettings


class PictureEnhancement(Protocol):
    """What the codec does to pictures at last; differentiable.

    Attributes:
        digest: what tells it from others.
    """

    digest: str

    def __call__(self, pictures: Tensor, auxiliary: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
        """Return pictures of the same shape (N, 3, H, W), about [-1, 1].

        Args:
            pictures: of the diffusion model.
            auxiliary: the auxiliary decoder's, likewise.
            latents: decoded, gain undone, shape (N, M, h, w).
            levels: shape (N,).
        """


class SketchLoss:
    """The distortion of sketches; our choice, the paper's stage 1 judges pixels alone.

    A stream of given length then holds what the diffusion model's latents need, and not only what squared error
    rewards.

    Args:
        settings: how.
        prior: the diffusion model that sketches are drawn for, frozen, in float32; its autoencoder alone is used.
        perceptual: distance of pictures; without one the mean absolute error alone counts.
        enhancement: of the pictures before they are judged, if any.
    """

    def __init__(
        self,
        settings: SketchSettings,
        prior: Prior,
        perceptual: Perceptual | None = None,
        enhancement: PictureEnhancement | None = None,
    ) -> None:
        self._settings = settings
        self._prior = prior
        self._perceptual = perceptual
        self._enhancement = enhancement

    def __call__(
        self, sketches: Tensor, estimate: Estimate, images: Tensor, levels: Tensor, weights: Tensor, step: int
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the distortion, a scalar, and its parts for the log.

        Args:
            sketches: shape (N, C, h, w), at least as large as the images' latents.
            estimate: what they were drawn from.
            images: shape (N, 3, H, W) in [-1, 1].
            levels: shape (N,).
            weights: of each image, shape (N,).
            step: of the training: the images that are decoded are others at every step.
        """
        settings, count = self._settings, len(images)
        with torch.no_grad():
            wanted = self._prior.encode(images).float()
        sketches = sketches[..., : wanted.shape[2], : wanted.shape[3]]
        errors = (sketches - wanted).square().mean(dim=(1, 2, 3))
        loss = (weights * settings.latent_weight * errors).mean()
        shown = {"latent": errors.detach().mean()}
        seen = (torch.arange(min(settings.images, count)) + step * settings.images) % count
        if len(seen):
            made = self._made(sketches[seen], estimate.images[seen], estimate.latents[seen], levels[seen])
            distances, pixels = self._distances(made, images[seen])
            judged = distances + settings.pixel_weight * pixels
            if settings.ms_ssim_weight:
                structure = ms_ssim_loss(made, images[seen])
                judged = judged + settings.ms_ssim_weight * structure
                shown["ms_ssim_loss"] = structure.detach().mean()
            loss = loss + (weights[seen] * judged).mean()
            shown["picture"] = distances.detach().mean()
        return loss, shown

    def distances(self, sketches: Tensor, estimate: Estimate, images: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return perceptual distance and mean absolute error of what is judged of all images, shapes (N,)."""
        return self._distances(self._made(sketches, estimate.images, estimate.latents, levels), images)

    def _made(self, sketches: Tensor, auxiliary: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
        """Return the pictures that are judged."""
        made = self._prior.decode(sketches, (auxiliary.shape[2], auxiliary.shape[3])).float()
        return made if self._enhancement is None else self._enhancement(made, auxiliary, latents, levels)

    def _distances(self, made: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = functional.l1_loss(made, images, reduction="none").mean(dim=(1, 2, 3))
        return torch.zeros_like(pixels) if self._perceptual is None else self._perceptual(made, images), pixels
