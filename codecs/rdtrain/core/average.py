"""The average of the weights over the training: what is evaluated and shipped."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

_M = TypeVar("_M", bound=nn.Module)


class Average(Generic[_M]):
    """Power-function average of a model's weights; its window grows with the training, whatever its length.

    Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3.1.

    Args:
        model: the one being trained.
        gamma: exponent; the weights of step t of T count as (t / T) ** gamma.

    Attributes:
        model: a copy of the model that holds the average.
    """

    def __init__(self, model: _M, gamma: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._gamma = gamma
        self._pairs = list(zip(self.model.parameters(), model.parameters(), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        decay = (1 - 1 / (step + 1)) ** (self._gamma + 1)
        ours, theirs = (list(side) for side in zip(*self._pairs, strict=True))
        torch._foreach_lerp_(ours, theirs, 1 - decay)
