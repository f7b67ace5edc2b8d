"""Mean and standard deviation of a picture's colours, and their six bytes in a stream."""

from dataclasses import dataclass

import torch
from torch import Tensor

STATISTICS_BYTES = 6


@dataclass(frozen=True)
class Statistics:
    """Of each colour channel of a batch of pictures in [-1, 1].

    Attributes:
        mean: shape (N, 3, 1, 1).
        deviation: standard deviation, likewise.
    """

    mean: Tensor
    deviation: Tensor


def statistics(pictures: Tensor) -> Statistics:
    """Return the statistics of pictures of shape (N, 3, H, W)."""
    deviation, mean = torch.std_mean(pictures, dim=(2, 3), keepdim=True, correction=0)
    return Statistics(mean, deviation)


def pack_statistics(pictures: Tensor) -> bytes:
    """Return the statistics of one picture in [-1, 1], shape (1, 3, H, W), in six bytes.

    Means in steps of one 8-bit level, standard deviations, which are no more than half the range, in half levels.
    """
    found = statistics(pictures.double())
    mean = found.mean.add(1).mul(127.5).flatten()
    deviation = found.deviation.mul(255).flatten()
    return bytes(torch.cat([mean, deviation]).round().clamp(0, 255).to(torch.uint8).tolist())


def unpack_statistics(packed: bytes) -> Statistics:
    """Return what `pack_statistics` packed, for a batch of one."""
    values = torch.tensor(list(packed), dtype=torch.float32).reshape(2, 1, 3, 1, 1)
    return Statistics(values[0].div(127.5).sub(1), values[1].div(255))
