"""What a sampler predicts on its way: for trainings that judge its own course, not only noised true images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from rdcodecs.prior.model import Prior
from rdtrain.core.picture_distance import Perceptual, PictureDistance
from rdtrain.core.precision import mixed_precision

Denoise = Callable[[Tensor, int], Tensor]
"""From noisy latents (N, C, h, w) and a noise level to what the U-Net predicts, same shape."""

Finish = Callable[[Tensor], Tensor]
"""From pictures that the autoencoder decoded to those that the codec shows, same shape."""


@dataclass(frozen=True)
class PictureSettings:
    """How a training judges pictures.

    Attributes:
        weight: of the loss, beside the noise prediction's; 0 leaves it out.
        pixel_weight: of the mean absolute error in it, beside the perceptual distance.
        ms_ssim_weight: of 1 - MS-SSIM in it.
        begin: share of the training after which it acts.
        images: of a batch, on which it is computed.
        steps: numbers of denoising steps, drawn from.
        whole: share of the walks that are judged where a decoder ends; the others end at any of their steps.
        unrolled: how many predictions at the end of a walk, at least one, have a gradient: each learns what follows.
    """

    weight: float = 0.0
    pixel_weight: float = 1.0
    ms_ssim_weight: float = 0.0
    begin: float = 0.5
    images: int = 2
    steps: tuple[int, ...] = (5, 10)
    whole: float = 0.0
    unrolled: int = 1


class TrajectoryLoss:
    """The distance between pictures and what a sampler takes them for on its way; our choice, not the papers'.

    DDIM runs from noise to one of its steps, and the clean latents that are predicted there are decoded. So what steers
    the sampler learns on what its own sampling gives it. The last predictions alone have a gradient.

    Args:
        settings: how.
        prior: decodes, and has the noise levels.
        perceptual: distance of pictures; without one the mean absolute error alone counts.
        span: of the sampler: see `Prior.sample`.
    """

    def __init__(
        self, settings: PictureSettings, prior: Prior, perceptual: Perceptual | None, *, span: float = 1.0
    ) -> None:
        self._settings = settings
        self._prior = prior
        self._distance = PictureDistance(
            perceptual, pixel_weight=settings.pixel_weight, ms_ssim_weight=settings.ms_ssim_weight
        )
        self._span = span

    def chosen(self, step: int, progress: float, batch: int) -> Tensor | None:
        """Return which images of a step's batch are judged, others at every step; `None` where none is."""
        settings = self._settings
        if not settings.weight or progress < settings.begin:
            return None
        return (torch.arange(settings.images) + step * settings.images) % batch

    def __call__(
        self, pictures: Tensor, denoise: Denoise, generator: torch.Generator, *, finish: Finish | None = None
    ) -> Tensor:
        """Return the distance, a scalar, weight included.

        Args:
            pictures: wanted, shape (N, 3, H, W) in [-1, 1].
            denoise: steered by what is known of them.
            generator: of noise and noise levels, on the pictures' device.
            finish: what is done to a decoded picture before it is judged; differentiable.
        """
        size = (pictures.shape[2], pictures.shape[3])
        shape = (len(pictures), self._prior.channels, *self._prior.latent_size(size))
        settings = self._settings
        timesteps = draw_walk(self._prior, settings.steps, generator, whole=settings.whole, span=self._span)
        noise = torch.randn(shape, generator=generator, device=pictures.device)
        with mixed_precision(pictures.device):
            drawn = predict_at_end(self._prior, denoise, noise, timesteps, unrolled=settings.unrolled)
            made = self._prior.decode(drawn, size).float()
        if finish is not None:
            made = finish(made)
        return settings.weight * self._distance(made, pictures)


def draw_walk(
    prior: Prior, steps: Sequence[int], generator: torch.Generator, *, whole: float = 0.0, span: float = 1.0
) -> list[int]:
    """Return the noise levels from pure noise to one on the way that DDIM takes, both drawn at random.

    Args:
        prior: for its noise levels.
        steps: numbers of denoising steps, one of which is drawn.
        generator: on any device.
        whole: share of the draws that go all the way.
        span: of the sampler: see `Prior.sample`.
    """

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=generator, device=generator.device))

    timesteps = prior.timesteps(steps[draw(len(steps))], span)
    end = draw(len(timesteps)) + 1
    if whole and float(torch.rand((), generator=generator, device=generator.device)) < whole:
        return timesteps
    return timesteps[:end]


def predict_at_end(
    prior: Prior, denoise: Denoise, noise: Tensor, timesteps: Sequence[int], *, unrolled: int = 1
) -> Tensor:
    """Go by DDIM from noise to the last of some noise levels, and return the clean latents predicted there.

    Args:
        prior: for its noise levels and what its U-Net predicts.
        denoise: the U-Net, steered.
        noise: standard normal, shape (N, C, h, w).
        timesteps: noise levels, falling, the first one that of pure noise; e.g. of `draw_walk`.
        unrolled: how many predictions at the end have a gradient.
    """
    noisy = noise
    unmoved = len(timesteps) - unrolled
    for place, (now, then) in enumerate(pairwise(timesteps)):
        with torch.set_grad_enabled(torch.is_grad_enabled() and place >= unmoved):
            # DDIM without added noise (Song, Meng, Ermon 2021, eq. 12 with sigma = 0).
            clean, left = prior.split(denoise(noisy, now).float(), noisy, now)
            noisy = prior.add_noise(clean, left, then)
    last = timesteps[-1]
    return prior.split(denoise(noisy, last).float(), noisy, last)[0]
