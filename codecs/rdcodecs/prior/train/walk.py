"""What a sampler predicts on its way: for trainings that judge its own course, not only noised true images."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from rdcodecs.prior.model import Prior


def draw_walk(prior: Prior, steps: Sequence[int], generator: torch.Generator) -> list[int]:
    """Return the noise levels from pure noise to one on the way that DDIM takes, both drawn at random.

    Args:
        prior: for its noise levels.
        steps: numbers of denoising steps, one of which is drawn.
        generator: on any device.
    """

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=generator, device=generator.device))

    timesteps = prior.timesteps(steps[draw(len(steps))])
    return timesteps[: draw(len(timesteps)) + 1]


def predict_at_end(
    prior: Prior, denoise: Callable[[Tensor, int], Tensor], noise: Tensor, timesteps: Sequence[int]
) -> Tensor:
    """Go by DDIM from noise to the last of some noise levels, and return the clean latents predicted there.

    Only the last prediction has a gradient.

    Args:
        prior: for its noise levels and what its U-Net predicts.
        denoise: from noisy latents and a noise level to the prediction.
        noise: standard normal, shape (N, C, h, w).
        timesteps: noise levels, falling, the first one that of pure noise; e.g. of `draw_walk`.
    """
    noisy = noise
    with torch.no_grad():
        for now, then in pairwise(timesteps):
            # DDIM without added noise (Song, Meng, Ermon 2021, eq. 12 with sigma = 0).
            clean, left = prior.split(denoise(noisy, now).float(), noisy, now)
            noisy = prior.add_noise(clean, left, then)
    last = timesteps[-1]
    return prior.split(denoise(noisy, last).float(), noisy, last)[0]
