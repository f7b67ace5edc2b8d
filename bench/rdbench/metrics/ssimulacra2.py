"""SSIMULACRA 2, with the colour space, error maps and weights of the `ssimulacra2` package.

The package's own loop over the scales departs from libjxl's tool, which defines the metric: it mirrors the
image at two of its four borders where libjxl takes zeros, and it drops a scale earlier, after which its
weights no longer meet the terms they belong to. On a 512x512 photograph that costs up to 3 points, below 225
pixels per side 20 and more. So the pyramid and the blur are here, after libjxl.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.metrics.base import Metric
from rdbench.metrics.installed import package_version
from rdcodecs import Image

_Planes = npt.NDArray[np.float64]

_SCALES = 6
_SIGMA = 1.5


@dataclass(frozen=True)
class _Scale:
    """The reference at one scale: XYB planes, their local means, and the local means of their squares."""

    xyb: _Planes
    mean: _Planes
    square: _Planes


class SSIMULACRA2(Metric):
    """SSIMULACRA 2: 100 is lossless, 90 cannot be told from it, 70 is high, 50 medium, 30 low quality.

    There is no lower end; strong distortions go below 0. It needs 113 pixels per side: with fewer, libjxl's
    tool leaves out the coarsest scale, and the terms left meet weights that were trained for others.
    """

    name: ClassVar[str] = "ssimulacra2"
    title: ClassVar[str] = "SSIMULACRA 2"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-math.inf, 100.0)
    min_side: ClassVar[int] = 113
    source: ClassVar[str] = "Sneyers: SSIMULACRA 2 (Cloudinary, 2023), as libjxl's tools/ssimulacra2"

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the package is missing."""
        package_version("ssimulacra2")

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version, and whose pyramid and blur are used."""
        return {"ssimulacra2": package_version("ssimulacra2"), "pyramid": "libjxl"}

    def prepare(self, reference: Image) -> list[_Scale]:
        """Return the reference's scales."""
        return [_Scale(xyb, _blur(xyb), _blur(xyb * xyb)) for xyb in _pyramid(reference)]

    def score(self, prepared: list[_Scale], image: Image) -> float:
        """Return the score, 100 for identical images."""
        from ssimulacra2.ssimulacra2 import Msssim, MsssimScale, edge_diff_map, ssim_map

        result = Msssim()
        for ours, xyb in zip(prepared, _pyramid(image), strict=True):
            mean = _blur(xyb)
            scale = MsssimScale()
            scale.avg_ssim = ssim_map(ours.mean, mean, ours.square, _blur(xyb * xyb), _blur(ours.xyb * xyb))
            scale.avg_edgediff = edge_diff_map(ours.xyb, ours.mean, xyb, mean)
            result.scales.append(scale)
        return float(result.score())


def _pyramid(image: Image) -> Iterator[_Planes]:
    """Yield the image in rescaled XYB at each scale; it is halved in linear light."""
    from ssimulacra2.ssimulacra2 import linear_rgb_to_xyb, make_positive_xyb, srgb_to_linear

    linear = srgb_to_linear(np.arange(256))[image]  # a table: 256 powers, not one for each sample
    for scale in range(_SCALES):
        if scale:
            linear = _halve(linear)
        yield make_positive_xyb(linear_rgb_to_xyb(linear))


def _halve(planes: _Planes) -> _Planes:
    """Average 2x2 blocks; an odd last row or column is repeated."""
    height, width = planes.shape[:2]
    even = np.pad(planes, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _blur(planes: _Planes) -> _Planes:
    """Low-pass both directions, with zeros beyond all four borders."""
    from scipy.ndimage import correlate1d

    kernel = _kernel()
    across = correlate1d(planes, kernel, axis=0, mode="constant")
    blurred: _Planes = correlate1d(across, kernel, axis=1, mode="constant")
    return blurred


@functools.cache
def _kernel() -> npt.NDArray[np.float64]:
    """Return libjxl's approximation of a Gaussian: three truncated cosines, as a filter of nine taps.

    Charalampidis: Recursive implementation of the Gaussian filter using truncated cosine functions (IEEE TSP
    2016); the numbers are those of its equations. libjxl runs it as a recursion, which has this response.
    """
    radius = round(3.2795 * _SIGMA + 0.2546)  # (57)
    omega = np.array([1, 3, 5]) * math.pi / (2 * radius)  # Table I
    sign = np.array([1, -1, 1])
    p = sign / np.tan(omega / 2)  # (37)
    r = sign * p**2 / np.sin(omega)  # (44)
    rho = np.exp(-(_SIGMA**2) * omega**2 / 2) / radius  # (50)
    minors = np.roll(p, -1) * np.roll(r, -2) - np.roll(r, -1) * np.roll(p, -2)  # (52)
    zeta = minors / minors[2]
    gamma = [1, radius**2 - _SIGMA**2, zeta @ rho]  # (55)
    beta = np.linalg.solve(np.stack([p, r, zeta]), gamma)  # (53), (56)
    taps = np.arange(1 - radius, radius)  # the cosines are zero at ±radius
    kernel: npt.NDArray[np.float64] = np.cos(np.outer(taps, omega)) @ beta
    return kernel
