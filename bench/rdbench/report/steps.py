"""What the step-count explorer shows: quality and decode time of one codec at several numbers of denoising steps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from rdbench.curves import MIN_COVERAGE, CurveData, all_curves
from rdbench.records import step_suffix
from rdbench.report.charts import rate_names
from rdbench.report.numbers import plain

Floats = npt.NDArray[np.float64]


def step_charts(records: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what is drawn of each codec that was decoded with several step counts; empty where none was.

    Every line is one rate. Its points average the same images at all step counts; a step count that fewer than
    half of the images have is left out.
    """
    groups: dict[str, list[CurveData]] = {}
    for data in all_curves(records).values():
        if not math.isnan(data.steps):
            groups.setdefault(_without_steps(data), []).append(data)
    names = rate_names(records)
    several = {name: sorted(mine, key=lambda data: data.steps) for name, mine in groups.items() if len(mine) > 1}
    return [_codec(name, mine, names.get(mine[0].label, "rate")) for name, mine in several.items()]


def _without_steps(data: CurveData) -> str:
    return data.label + data.name.removeprefix(data.label).removeprefix(step_suffix(data.steps))


def _codec(name: str, curves: Sequence[CurveData], rate_name: str) -> dict[str, Any]:
    rates = sorted({float(rate) for data in curves for rate in data.rates})
    metrics = list(dict.fromkeys(metric for data in curves for metric in data.metrics))
    return {
        "name": name,
        "steps": [data.steps for data in curves],
        "metrics": {metric: [line for rate in rates if (line := _line(curves, rate, metric))] for metric in metrics},
        "rate_name": rate_name,
    }


def _line(curves: Sequence[CurveData], rate: float, metric: str) -> dict[str, Any] | None:
    """Return means over the images that have the metric at every step count; None where there are none."""
    images = sorted({image for data in curves for image in data.images})
    quality = np.stack([_at(data, data.values.get(metric), rate, images) for data in curves])
    known = np.isfinite(quality)
    counts = known.sum(axis=1)
    kept = (counts > 0) & (counts >= MIN_COVERAGE * counts.max(initial=0))
    rows = known[kept].all(axis=0) & kept.any()
    if not rows.any():
        return None
    bpp = np.stack([_at(data, data.bpp, rate, images) for data in curves])
    seconds = np.stack([_at(data, data.decode_s, rate, images) for data in curves])

    def means(table: Floats) -> list[float | str | None]:
        averages = np.full(len(curves), np.nan)
        averages[kept] = table[kept][:, rows].mean(axis=1)
        return plain(averages)

    return {
        "rate": f"{rate:g}",
        "bpp": float(f"{bpp[kept][:, rows].mean():.7g}"),
        "images": int(rows.sum()),
        "quality": means(quality),
        "decode_s": means(seconds),
    }


def _at(data: CurveData, table: Floats | None, rate: float, images: Sequence[str]) -> Floats:
    """Return one rate's column of a table for these images; NaN for what is not there."""
    column = np.full(len(images), np.nan)
    at = np.flatnonzero(data.rates == rate)
    if table is not None and at.size:
        values = dict(zip(data.images, table[:, at[0]], strict=True))
        column[:] = [values.get(image, np.nan) for image in images]
    return column
