"""A step of an optimiser, and how its learning rate goes over a training."""

import math

import torch
from torch import Tensor, nn


def update(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], rate: float) -> Tensor:
    """Take an optimiser's step with gradients clipped to norm 1; skip it where they are not finite.

    Returns:
        The gradients' norm before clipping.
    """
    norm = nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    if bool(torch.isfinite(norm)):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def schedule(progress: float, step: int, warmup: int) -> float:
    """Return the share of the peak learning rate: linear rise, then a cosine down to 1 %.

    Args:
        progress: of the training, 0 to 1.
        step: counted from 0.
        warmup: steps over which it rises.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    return min(1.0, (step + 1) / max(1, warmup)) * (0.01 + 0.99 * cosine)
