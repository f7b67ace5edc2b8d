"""What the training loop needs of a part that is trained."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rdcodecs.codec import Image


class Task(Protocol):
    """A part of the model being trained. All randomness of a step follows from the step's number."""

    name: str

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step and return what is logged, as scalars that may still be on the device."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that decides how the training goes on."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set what `tensors` gave."""

    def evaluate(self) -> dict[str, float]:
        """Return figures of the averaged weights on held-out images."""

    def picture(self) -> Image:
        """Return a picture that shows how far it is."""


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where it pays; on a CPU it is a hundred times slower than float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


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


@contextmanager
def fast_products() -> Iterator[None]:
    """Let float32 matrix products on a GPU use its TF32 units, as long as the context lasts."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
