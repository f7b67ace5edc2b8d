"""The precision that a training computes in."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where it pays; on a CPU it is a hundred times slower than float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


@contextmanager
def fast_products() -> Iterator[None]:
    """Let float32 matrix products on a GPU use its TF32 units, as long as the context lasts."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
