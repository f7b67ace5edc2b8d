"""MS-SSIM, and MS-SSIM in dB."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.base import DerivedMetric, Metric
from rdbench.metrics.installed import package_version
from rdbench.metrics.tensors import to_tensor
from rdcodecs import Image

if TYPE_CHECKING:
    from torch import Tensor

_SOURCE = "Wang, Simoncelli, Bovik: Multiscale structural similarity (Asilomar 2003), eq. 7"


class MSSSIM(Metric):
    """Multi-scale structural similarity of R, G and B, averaged: `pytorch-msssim`, which the field uses.

    Five scales, 11x11 Gaussian window, sigma 1.5. Where the contrast-structure term of a scale and channel is
    negative, its fractional power is not a number; the package takes 0 in its place, and so the channel's
    product is 0. The value is thus always a number from 0 to 1.
    """

    name: ClassVar[str] = "ms_ssim"
    title: ClassVar[str] = "MS-SSIM"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    min_side: ClassVar[int] = 161
    source: ClassVar[str] = _SOURCE

    def check(self) -> None:
        """Raise `MetricUnavailableError` if pytorch-msssim is missing."""
        package_version("pytorch-msssim")

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version."""
        return {"pytorch-msssim": package_version("pytorch-msssim")}

    def prepare(self, reference: Image) -> "Tensor":
        """Return the reference as a tensor."""
        return to_tensor(reference)

    def score(self, prepared: "Tensor", image: Image) -> float:
        """Return the MS-SSIM, 0 to 1."""
        import torch
        from pytorch_msssim import ms_ssim

        with torch.inference_mode():
            value = float(ms_ssim(prepared, to_tensor(image), data_range=255))
        # Rounding in float32 can pass 1 by a hair, of which the dB form would make a NaN.
        return min(value, 1.0)


class MSSSIMdB(DerivedMetric):
    """MS-SSIM in dB: -10·log10(1 - MS-SSIM), image by image, so that a mean is the mean of the images' dB.

    That mean is not the dB of the mean MS-SSIM, and a BD-rate on dB differs from one on raw values. Identical
    images have an infinite value.
    """

    name: ClassVar[str] = "ms_ssim_db"
    title: ClassVar[str] = "MS-SSIM"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    source: ClassVar[str] = f"{_SOURCE}; -10·log10(1 - MS-SSIM)"
    base: ClassVar[str] = "ms_ssim"

    def derive(self, value: float) -> float:
        """Return the dB of an MS-SSIM value from 0 to 1; 1 becomes infinity."""
        return math.inf if value >= 1 else -10 * math.log10(1 - value)
