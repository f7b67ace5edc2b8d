"""Bits that the entropy model gives to latents, differentiable: the rate term of the training."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from rdcodecs.entropy import FrequencyTables

SCALES = 64
_LOWEST, _HIGHEST = 0.11, 64.0
_FLOOR = 1e-9


def scale_table() -> list[float]:
    """Return the standard deviations that a latent can be coded with (Ballé et al. 2018, section 4)."""
    step = math.log(_HIGHEST / _LOWEST) / (SCALES - 1)
    return [_LOWEST * math.exp(step * index) for index in range(SCALES)]


def scale_at(place: Tensor) -> Tensor:
    """Return the standard deviation at a place in the table, interpolated between its entries and held at its ends."""
    step = math.log(_HIGHEST / _LOWEST) / (SCALES - 1)
    return _LOWEST * (step * lower_bounded(place.clamp(max=SCALES - 1), 0.0)).exp()


def gaussian_bits(values: Tensor, scales: Tensor) -> Tensor:
    """Return the bits of unit-width bins around `values` under zero-mean normal distributions, element by element."""
    # By symmetry taken in the lower tail, where the difference of the two does not cancel.
    distance = values.abs()
    upper = _normal_cdf((0.5 - distance) / scales)
    lower = _normal_cdf((-0.5 - distance) / scales)
    return -lower_bounded(upper - lower, _FLOOR).log2()


class FactorisedPrior(nn.Module):
    """Distribution of the hyper-latent: a logistic for each level and channel.

    It only guides the training: the tables that are shipped are counted afterwards.

    Args:
        levels: number of rate levels.
        channels: of the hyper-latent.
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(levels, channels))
        self.log_scale = nn.Parameter(torch.zeros(levels, channels))

    def forward(self, values: Tensor, levels: Tensor) -> Tensor:
        """Return the bits of each element of `values`, shape (N, C, h, w); `levels` has shape (N,)."""
        mean = self.mean[levels][:, :, None, None]
        scale = self.log_scale[levels][:, :, None, None].clamp(-3, 5).exp()
        distance = (values - mean).abs()
        inside = torch.sigmoid((0.5 - distance) / scale) - torch.sigmoid((-0.5 - distance) / scale)
        return -lower_bounded(inside, _FLOOR).log2()

    @torch.no_grad()
    def fit(self, tables: FrequencyTables) -> None:
        """Take the mean and the deviation of counted tables, one for each level and channel, levels outermost."""
        for index in range(len(tables)):
            # Without the escape, which stands for no value.
            counts = tables.table(index)[:-1].astype(np.float64)
            values = tables.lows[index] + np.arange(len(counts))
            mean = np.average(values, weights=counts)
            deviation = math.sqrt(np.average((values - mean) ** 2, weights=counts))
            self.mean.view(-1)[index] = mean
            self.log_scale.view(-1)[index] = max(-3.0, math.log(max(deviation, _FLOOR) * math.sqrt(3) / math.pi))


def lower_bounded(values: Tensor, bound: float) -> Tensor:
    """Return max(values, bound), with a gradient below the bound where it would bring the value back."""
    bounded: Tensor = _LowerBound.apply(values, bound)  # type: ignore[no-untyped-call]
    return bounded


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bound = bound  # type: ignore[attr-defined]
        return values.clamp(min=bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors  # type: ignore[attr-defined]
        passes = (values >= ctx.bound) | (gradient < 0)  # type: ignore[attr-defined]
        return gradient * passes, None


def _normal_cdf(values: Tensor) -> Tensor:
    return 0.5 * torch.erfc(values * -(2**-0.5))
