"""How Bjøntegaard figures are written, in the terminal and on the page alike."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdbench.bd import BDResult, ImageMean


def format_figure(result: "BDResult | ImageMean | None", form: str, unit: str) -> str:
    """Return a BD value as the tables show it, or a dash."""
    return "-" if result is None else f"{result.value:+{form}}{unit}"


def format_interval(result: "BDResult | ImageMean | None", form: str) -> str:
    """Return a BD value's interval as the tables show it, or nothing where there is none."""
    if result is None or math.isnan(result.low):
        return ""
    return f"{result.low:+{form}} to {result.high:+{form}}"
