"""Which points of several curves have matched rates, and where in an image codecs differ most."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdcodecs import Image

Floats = npt.NDArray[np.float64]

TOLERANCE = 1.25
"""Rates within this factor of the target count as matched."""
_MOST = 0.6
"""A target at which fewer than this share of the curves has a matched point is not chosen."""
_STRIDE = 8
"""Crops start at multiples of so many pixels."""


@dataclass(frozen=True)
class Match:
    """A rate, and the points that lie near it.

    Attributes:
        bpp: the rate aimed at, bits per pixel.
        points: curve → index of its point.
    """

    bpp: float
    points: Mapping[str, int]


def matched_rates(curves: Mapping[str, Sequence[float]]) -> list[Match]:
    """Choose a low and a higher rate of one image at which most curves have a point, as near to it as can be.

    Args:
        curves: curve → bpp of its points, each above zero.

    Returns:
        None, one or two, by ascending rate; no two of the same points.
    """
    candidates = sorted({bpp for points in curves.values() for bpp in points if bpp > 0})
    found = [(target, _near(target, curves)) for target in candidates]
    most = max((len(points) for _, points in found), default=0)
    eligible = [(t, points) for t, points in found if len(points) >= max(1, _MOST * most)]
    if not eligible:
        return []
    middle = math.sqrt(eligible[0][0] * eligible[-1][0])
    halves = ([e for e in eligible if e[0] <= middle], [e for e in eligible if e[0] > middle])
    best = [min(half, key=lambda e: (-len(e[1]), _mismatch(e[0], e[1], curves), e[0])) for half in halves if half]
    if len(best) == 2 and best[0][1] == best[1][1]:
        best.pop()
    return [Match(target, points) for target, points in best]


def _near(target: float, curves: Mapping[str, Sequence[float]]) -> dict[str, int]:
    near = {}
    for name, points in curves.items():
        apart = [abs(math.log(bpp / target)) if bpp > 0 else math.inf for bpp in points]
        best = min(range(len(points)), key=apart.__getitem__, default=None)
        if best is not None and apart[best] <= math.log(TOLERANCE):
            near[name] = best
    return near


def _mismatch(target: float, points: Mapping[str, int], curves: Mapping[str, Sequence[float]]) -> float:
    return math.fsum(math.log(curves[name][i] / target) ** 2 for name, i in points.items()) / len(points)


def crop_size(shape: Sequence[int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the crop of an image: those wanted, or the image's where it is smaller."""
    return min(shape[0], wanted[0]), min(shape[1], wanted[1])


def most_disputed(original: Image, decoded: Iterable[Image], size: tuple[int, int]) -> tuple[int, int, float]:
    """Find the crop in which reconstructions differ most in how far they are from the original.

    The error of each reconstruction in each window is its RMSE there; the crop is the window with the largest
    standard deviation of it over the reconstructions, the first in reading order of several. Of a single
    reconstruction it is the window with the largest error.

    Args:
        original: shape (H, W, 3).
        decoded: at least one reconstruction of the same shape; read one at a time.
        size: height and width of the crop, no larger than the image.

    Returns:
        Top, left, and that standard deviation (or error), in grey levels.
    """
    maps = [_window_rmse(original, image, size) for image in decoded]
    spread = np.std(maps, axis=0) if len(maps) > 1 else maps[0]
    rows, columns = (_starts(n, s) for n, s in zip(original.shape[:2], size, strict=True))
    y, x = np.unravel_index(int(np.argmax(np.round(spread, 6))), spread.shape)
    return int(rows[y]), int(columns[x]), float(spread[y, x])


def rmse(original: Image, image: Image) -> float:
    """Return the root mean squared error of all samples, in grey levels."""
    return math.sqrt(float(np.mean((original.astype(np.float64) - image) ** 2)))


def _starts(length: int, size: int) -> npt.NDArray[np.int64]:
    """Return where windows start: multiples of the stride, and the last place that there is."""
    return np.unique(np.append(np.arange(0, length - size + 1, _STRIDE), length - size))


def _window_rmse(original: Image, image: Image, size: tuple[int, int]) -> Floats:
    squared = ((original.astype(np.float64) - image) ** 2).mean(axis=2)
    sums = np.pad(squared.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    top, left = (_starts(n, s) for n, s in zip(original.shape[:2], size, strict=True))
    bottom, right = top + size[0], left + size[1]
    total = sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)]
    total += sums[np.ix_(top, left)] - sums[np.ix_(bottom, left)]
    rms: Floats = np.sqrt(np.maximum(total, 0) / (size[0] * size[1]))
    return rms
