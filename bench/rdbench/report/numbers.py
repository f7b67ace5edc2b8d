"""Numbers for the page: JSON has neither NaN nor infinity, and a column reads well with the same decimals."""

import math
from collections.abc import Iterable

import numpy as np

_DIGITS = 4
"""Significant digits of a column's largest value."""


def plain(values: Iterable[float]) -> list[float | str | None]:
    """Return numbers as JSON can hold them: null for NaN, the text "inf" or "-inf" for an infinity.

    Seven significant digits are kept: more than any of the figures is good for, in half the space.
    """
    return [_plain(float(value)) for value in values]


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(f"{value:.7g}")


def decimals(values: Iterable[float]) -> int:
    """Return how many decimals a column needs: four digits for its largest value, 0 to 6 decimals."""
    finite = np.abs([value for value in values if math.isfinite(value)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest == 0:
        return 0
    return min(6, max(0, _DIGITS - 1 - math.floor(math.log10(largest))))
