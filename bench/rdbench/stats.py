"""What a sample of images tells: intervals by the jackknife, and the sign test with Holm's correction.

docs/statistics.md says why these, and shows how often the intervals cover the truth.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_IMAGES = 6
"""Fewest images for an interval: of fewer it is so wide that it says nothing."""
LEVEL = 0.95


def leave_one_out(table: Floats) -> Floats:
    """Return the means over the images without each of them in turn.

    Args:
        table: values by image, shape (N, ...), N at least 2, finite.

    Returns:
        Shape (N, ...): row i is the mean without image i.
    """
    means: Floats = (table.sum(axis=0) - table) / (len(table) - 1)
    return means


def jackknife_interval(value: float, without: Floats, *, percent: bool = False) -> tuple[float, float, str]:
    """Return the ends of the 95 % interval of a figure of N images, and why there is none where there is none.

    The figure plus and minus Student's t of N - 1 degrees of freedom times the jackknife's standard error (B. Efron,
    "The Jackknife, the Bootstrap and Other Resampling Plans", SIAM, 1982, chapter 3), without that one's factor of
    (N - 1) / N on the variance: with few and unlike images the plain one is a little too short. It covers what
    another choice of images from the same population would change, nothing else.

    Args:
        value: the figure over all images.
        without: the figure without each image in turn, shape (N,); NaN where there is none.
        percent: the figure is a change of a ratio in percent, such as a BD-rate: the interval is taken over
            log(1 + value / 100), where halving and doubling are equally far from no change.

    Returns:
        Low, high (NaN where there is no interval), and the reason, or "".
    """
    images = len(without)
    if images < MIN_IMAGES:
        return np.nan, np.nan, f"no interval: it needs {MIN_IMAGES} images, there are {images}"
    undefined = int(np.isnan(without).sum())
    if undefined or not np.isfinite(value):
        return (
            np.nan,
            np.nan,
            f"no interval: with one image less there is no figure, for {undefined} of the {images} images",
        )
    centre, others = (np.log1p(np.asarray(v) / 100) if percent else np.asarray(v) for v in (value, without))
    error = math.sqrt(float(np.square(others - others.mean()).sum()))
    low, high = (float(centre) + side * student_t(images - 1) * error for side in (-1, 1))
    if percent:
        low, high = (100 * math.expm1(end) for end in (low, high))
    return low, high, ""


def student_t(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t."""
    from scipy.special import stdtrit  # a few times faster to import than scipy.stats

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test: wins and losses are equally likely. Ties do not count.

    NaN where there is neither. (W. J. Conover, "Practical Nonparametric Statistics", 1999, section 3.4.)
    """
    trials = wins + losses
    if trials == 0:
        return math.nan
    tail = sum(math.comb(trials, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**trials))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many there are, so that all of them below 0.05 err together in 5 % of cases.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.
    NaN stays NaN and counts for nothing.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[i] = largest
    return corrected
