"""The context model: what latents that are already decoded tell of those that are not yet."""

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.hyperprior.config import HyperpriorConfig

STEPS = 4
_PLACES = np.array([[0, 2], [3, 1]])
"""Step at which each sample of a square of two by two is decoded, in the first group of channels."""

Masks = npt.NDArray[np.bool_]


def partition(shape: tuple[int, ...], *, context: bool = True) -> Masks:
    """Return which latents each step decodes, shape (4, M, h, w): each latent belongs to one step.

    The channels fall into four groups, and at each step every group is at another sample of each square of two by
    two; so neighbours in the plane and other channels of the same place are known early (the quadtree partition of
    Li, Li, Lu 2023, "Neural video compression with diverse contexts").

    Args:
        shape: (M, h, w).
        context: without one there is a single step, for all latents.
    """
    if not context:
        return np.ones((1, *shape), dtype=np.bool_)
    channels, height, width = shape
    places = np.tile(_PLACES, (-(-height // 2), -(-width // 2)))[:height, :width]
    steps = (places + np.arange(channels)[:, None, None]) % STEPS
    return np.stack([steps == step for step in range(STEPS)])


class Context(nn.Module):
    """What is added to the parameters of the latent's distribution at each step but the first; nothing, untrained.

    `fixed_point.ExactContext` computes the same to the bit on every machine: what is used.

    Args:
        config: of the model, with a context.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_Step(config) for _ in range(STEPS - 1))

    def forward(self, step: int, known: Tensor, raw: Tensor, levels: Tensor) -> Tensor:
        """Return the parameters of one step's latents, shape (N, 2·M, h, w), of which those of others are not used.

        Args:
            step: 1 to 3.
            known: latents of the steps before, zero where not yet decoded, shape (N, M, h, w).
            raw: the hyper-synthesis's parameters, shape (N, 2·M, h, w).
            levels: shape (N,).
        """
        parameters: Tensor = raw + self.steps[step - 1](known, raw, levels)
        return parameters


class _Step(nn.Module):
    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        width, channels = config.context_width, config.latent_channels
        self.known = nn.Conv2d(channels, width, 3, padding=1)
        self.given = nn.Conv2d(2 * channels, width, 1)
        self.level = nn.Embedding(config.levels, width)
        self.second = nn.Conv2d(width, width, 1)
        self.third = nn.Conv2d(width, 2 * channels, 1)
        for layer in (self.level, self.third):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, known: Tensor, raw: Tensor, levels: Tensor) -> Tensor:
        features = functional.relu(self.known(known) + self.given(raw) + self.level(levels)[:, :, None, None])
        added: Tensor = self.third(functional.relu(self.second(features)))
        return added
