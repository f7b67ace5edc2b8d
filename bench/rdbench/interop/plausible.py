"""Whether imported figures can be what their column says: the commonest mix-ups of units, each said in one line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdbench.curves import CurveError, metric_info
from rdbench.metrics import metric_class, metric_names

Floats = npt.NDArray[np.float64]

MOST_BPP = 24.0
"""Bits per pixel of an uncompressed 8-bit RGB image."""
_HIGH_BPP, _LOW_PSNR = 8.0, 36.0
"""Above so many bpp any codec reaches more than so many dB: 8 bpp is nearly lossless for photographs."""
_MOST_DISTANCE = 2.0
"""LPIPS and DISTS are rarely above 1."""


@dataclass(frozen=True)
class _Check:
    """What values must not be, and what they are then taken for."""

    wrong: Callable[[Floats], bool]
    looks_like: str


def _above(limit: float) -> Callable[[Floats], bool]:
    return lambda values: bool((values > limit).any())


def _all_within(low: float, high: float) -> Callable[[Floats], bool]:
    return lambda values: bool(((values >= low) & (values <= high)).all())


def _negative(values: Floats) -> bool:
    return bool((values < 0).any())


_PERCENT = "these look like percent: divide by 100"
_UNIT_SHARE = "these look like a share of 1: multiply by 100"
_SIMILARITY = (
    _Check(_negative, "a mean of {metric} is not negative: is the sign lost, or is this a loss (1 - {metric})?"),
    _Check(
        lambda v: bool((v > 1).any() and (v <= 40).all()),
        "these are dB: name the column {column_db}, or give {metric} itself, at most 1",
    ),
    _Check(_above(1), _PERCENT),
)
_DISTANCE = (
    _Check(_negative, "a distance is not negative: give it as it is, lower is better"),
    _Check(_above(_MOST_DISTANCE), f"{{title}} above {_MOST_DISTANCE:g} is not plausible: {_PERCENT}"),
)
_CHECKS: dict[str, tuple[_Check, ...]] = {
    "bpp": (
        _Check(lambda v: bool((v <= 0).any()), "bits per pixel are above zero"),
        _Check(_above(MOST_BPP), f"an uncompressed image has {MOST_BPP:g} bpp: these look like percent, or kilobytes"),
        _Check(lambda v: bool((v > _HIGH_BPP).all()), "every point is nearly lossless: these look like percent"),
    ),
    "psnr": (
        _Check(_negative, "PSNR in dB is not negative: is the sign lost?"),
        _Check(_all_within(0, 1), "PSNR is in dB: these look like MS-SSIM (ms-ssim-rgb) or a share of 1"),
        _Check(lambda v: bool((v[np.isfinite(v)] > 120).any()), "8-bit images have at most 100 dB or infinity"),
        _Check(_all_within(0, 5), "below 5 dB nothing is seen of an image: PSNR is in dB"),
    ),
    "ms_ssim": _SIMILARITY,
    "ssim": _SIMILARITY,
    "ms_ssim_db": (
        _Check(_negative, "-10 log10(1 - MS-SSIM) is not negative: is the sign lost?"),
        _Check(_all_within(0, 1), "these are not dB: name the column ms-ssim-rgb"),
        _Check(_above(60), "60 dB are an MS-SSIM of 0.999999: these look like percent"),
    ),
    "vmaf": (_Check(_above(100), "VMAF is at most 100"), _Check(_all_within(0, 1), _UNIT_SHARE)),
    "ssimulacra2": (_Check(_above(100), "SSIMULACRA 2 is at most 100"), _Check(_all_within(0, 1), _UNIT_SHARE)),
}
_DB_COLUMNS = {"ms_ssim": "ms-ssim-db-rgb", "ssim": "ssim-db"}


def implausible(bpp: Floats, values: Mapping[str, Floats]) -> tuple[str, str] | None:
    """Return the column that cannot be what it says, and why, in our names; None where nothing is wrong.

    Args:
        bpp: bits per pixel, shape (P,); NaN where there is none.
        values: metric → means, shape (P,).
    """
    for name, column in {"bpp": bpp, **values}.items():
        known = column[~np.isnan(column)]
        if not known.size:
            continue
        for check in _checks(name):
            if check.wrong(known):
                title = metric_info(name).title if name != "bpp" else name
                text = check.looks_like.format(
                    metric=name.replace("_", "-"), title=title, column_db=_DB_COLUMNS.get(name, "")
                )
                return name, f"goes from {known.min():g} to {known.max():g}; {text}"
    psnr = values.get("psnr")
    if psnr is not None:
        odd = np.flatnonzero((bpp > _HIGH_BPP) & (psnr < _LOW_PSNR))
        if len(odd):
            point = f"{psnr[odd[0]]:g} dB at {bpp[odd[0]]:g} bits per pixel"
            return "bpp", f"is not plausible: {point}; these look like percent"
    return None


def _checks(name: str) -> tuple[_Check, ...]:
    if name in _CHECKS:
        return _CHECKS[name]
    if name != "bpp" and name.startswith(("lpips", "st_lpips", "dists")):
        return _DISTANCE
    return _declared(name)


def _declared(name: str) -> tuple[_Check, ...]:
    """Return checks of the range that a metric of this package declares, or of a direction that is known."""
    try:
        metric_info(name)
    except CurveError:
        return ()  # a column that nothing is known of
    if name not in metric_names():
        return ()
    low, high = metric_class(name).range
    return (
        _Check(lambda v: bool((v < low).any()), f"{{title}} is at least {low:g}"),
        _Check(_above(high), f"{{title}} is at most {high:g}"),
    )
