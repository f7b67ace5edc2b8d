"""Hold one curve against another, across results folders, and tell whether a bound is broken."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rdbench.bd import (
    RESAMPLES,
    BDError,
    BDResult,
    bd_quality,
    bd_rate,
    image_bd_rates,
    paired_curves,
)
from rdbench.curves import Curve, CurveData, CurveError, CurveSource, curve_data, metric_info
from rdbench.errors import BenchError, did_you_mean
from rdbench.integrals import Method


@dataclass(frozen=True)
class Comparison:
    """One curve against another, by one metric.

    Attributes:
        base: name of the curve compared against.
        new: name of the curve compared.
        metric: the metric.
        n_images: images averaged in both; 0 where only dataset means are known.
        bd_rate: BD-rate, or None where there is none.
        bd_quality: BD-quality, or None where there is none.
        by_image: BD-rate of each image's own curves in percent, by name; NaN where they are not monotone or do not
            overlap. Empty where only dataset means are known.
        encode_ratio: mean encode time of `new` over that of `base`, over the common images and all rates; NaN
            where a time is not known.
        decode_ratio: the same for decoding.
        at: rate in bits per pixel → quality of `base` and of `new` there, on their mean curves; rates that one of the
            curves does not reach are left out.
        notes: what a reader must know, and why a figure is missing.
    """

    base: str
    new: str
    metric: str
    n_images: int = 0
    bd_rate: BDResult | None = None
    bd_quality: BDResult | None = None
    by_image: Mapping[str, float] = field(default_factory=dict)
    encode_ratio: float = np.nan
    decode_ratio: float = np.nan
    at: Mapping[float, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())

    @property
    def wins(self) -> int:
        """Images for which `new` needs fewer bits."""
        return sum(value < 0 for value in self.by_image.values())

    @property
    def losses(self) -> int:
        """Images for which `new` needs more bits."""
        return sum(value > 0 for value in self.by_image.values())

    @property
    def undefined(self) -> int:
        """Images that have no BD-rate of their own."""
        return sum(np.isnan(value) for value in self.by_image.values())

    def worst(self, count: int) -> list[tuple[str, float]]:
        """Return the images for which `new` needs most bits, with their BD-rate, the worst first."""
        known = [(image, value) for image, value in self.by_image.items() if not np.isnan(value)]
        return sorted(known, key=lambda pair: -pair[1])[:count]


def compare(
    base_records: pd.DataFrame,
    base_name: str,
    new_records: pd.DataFrame,
    new_name: str,
    metrics: Sequence[str] | None = None,
    *,
    method: Method = "pchip",
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Compare two curves of two sets of records, which may be of two results folders.

    Images are matched by name. An image whose hash differs between the two is another image and left out.

    Args:
        base_records: rows as of records.csv.
        base_name: a curve of them, or a label that has one curve.
        new_records: rows to compare with them.
        new_name: a curve of those.
        metrics: names; by default every metric both have.
        method: the interpolation.
        resamples: number of bootstrap resamples; 0 for no intervals.

    Raises:
        CurveError: a curve or metric does not exist, or the curves share no metric.
    """
    base, new = curve_data(base_records, base_name), curve_data(new_records, new_name)
    return compare_curves(base, new, metrics, method=method, resamples=resamples)


def compare_curves(
    base: CurveSource,
    new: CurveSource,
    metrics: Sequence[str] | None = None,
    *,
    method: Method = "pchip",
    resamples: int = RESAMPLES,
    at: Sequence[float] = (),
) -> list[Comparison]:
    """Compare two curves, either of which may be a published one; see `compare`.

    `at` are rates in bits per pixel, where qualities are read off both curves besides.
    """
    if metrics is None:
        metrics = [name for name in base.metrics if name in new.metrics]
        if not metrics:
            raise CurveError(f"'{base.name}' and '{new.name}' have no metric in common")
    return [_compare(base, new, metric, method, resamples, at) for metric in metrics]


def _compare(
    base: CurveSource, new: CurveSource, metric: str, method: Method, resamples: int, at: Sequence[float]
) -> Comparison:
    metric_info(metric)
    try:
        anchor, test, found = paired_curves(base, new, metric)
        changed = _changed_images(base, new, anchor.images)
        if changed:
            same = [image for image in anchor.images if image not in changed]
            if not same:
                raise BDError(f"no image is the same in '{base.name}' and '{new.name}': their hashes differ")
            anchor, test = anchor.restrict(same), test.restrict(same)
            images = f"{len(changed)} image{'s' * (len(changed) > 1)}"
            found += (f"{images} left out: not the same in the two runs",)
    except (BDError, CurveError) as error:
        return Comparison(base.name, new.name, metric, notes=(str(error),))
    notes = list(found)
    figures: list[BDResult | None] = []
    for name, figure in (("BD-rate", bd_rate), ("BD-quality", bd_quality)):
        try:
            result = figure(anchor, test, method=method, resamples=resamples)
            notes += result.notes
            figures.append(result)
        except BDError as error:
            notes.append(f"{name}: {error}")
            figures.append(None)
    by_image: dict[str, float] = {}
    if anchor.images and anchor.images == test.images:
        try:
            by_image = dict(zip(anchor.images, image_bd_rates(anchor, test, method=method).tolist(), strict=True))
        except BDError as error:
            notes.append(str(error))
    read: dict[float, tuple[float, float]] = {}
    for bpp in at:
        pair = _quality_at(anchor, bpp), _quality_at(test, bpp)
        if np.isnan(pair).any():
            notes.append(f"at {bpp:g} bpp there is no quality: one of the curves does not reach it")
        else:
            read[bpp] = pair
    return Comparison(
        base.name,
        new.name,
        metric,
        n_images=max(anchor.n_images, test.n_images),
        bd_rate=figures[0],
        bd_quality=figures[1],
        by_image=by_image,
        encode_ratio=_time_ratio(base, new, "encode_s", anchor.images),
        decode_ratio=_time_ratio(base, new, "decode_s", anchor.images),
        at=read,
        notes=tuple(dict.fromkeys(notes)),
    )


def _quality_at(curve: Curve, bpp: float) -> float:
    """Return the mean curve's quality at a rate, by monotone pieces over log rate; NaN where it does not reach."""
    from scipy.interpolate import PchipInterpolator

    points = curve.finite()
    rates = points.bpp
    if len(rates) < 2 or rates[0] <= 0 or np.any(np.diff(rates) <= 0) or not rates[0] <= bpp <= rates[-1]:
        return np.nan
    return float(PchipInterpolator(np.log(rates), points.quality)(np.log(bpp)))


def _changed_images(base: CurveSource, new: CurveSource, images: Iterable[str]) -> set[str]:
    """Return the images that go by one name and are two."""
    if not isinstance(base, CurveData) or not isinstance(new, CurveData):
        return set()
    one, two = base.hashes, new.hashes
    return {image for image in images if one.get(image) and two.get(image) and one[image] != two[image]}


def _time_ratio(base: CurveSource, new: CurveSource, column: str, images: Sequence[str]) -> float:
    if not isinstance(base, CurveData) or not isinstance(new, CurveData):
        return np.nan
    means = []
    for data in (base, new):
        rows = np.isin(np.array(data.images, dtype=object), np.array(images, dtype=object))
        times = getattr(data, column)[rows]
        known = times[~np.isnan(times)]
        means.append(known.mean() if known.size else np.nan)
    return float(means[1] / means[0]) if means[0] else np.nan


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_FIGURES: dict[str, Callable[[Comparison], float]] = {
    "bd_rate": lambda c: c.bd_rate.value if c.bd_rate else np.nan,
    "bd_rate_low": lambda c: c.bd_rate.low if c.bd_rate else np.nan,
    "bd_rate_high": lambda c: c.bd_rate.high if c.bd_rate else np.nan,
    "bd_quality": lambda c: c.bd_quality.value if c.bd_quality else np.nan,
    "bd_quality_percent": lambda c: c.bd_quality.percent if c.bd_quality else np.nan,
    "losses": lambda c: float(c.losses),
}
_TIMES: dict[str, Callable[[Comparison], float]] = {
    "encode_ratio": lambda c: c.encode_ratio,
    "decode_ratio": lambda c: c.decode_ratio,
}
_BOUND = re.compile(
    r"\s*(?P<figure>\w+)\s*(?:\(\s*(?P<metric>\w+)\s*\))?\s*(?P<operator>[<>]=?)"
    r"\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*%?\s*"
)


class BoundError(BenchError):
    """A bound that cannot be read, or cannot be told."""


@dataclass(frozen=True)
class Bound:
    """A condition on a comparison, such as ``bd_rate(st_lpips_alex) > 2``.

    Attributes:
        text: as it was written.
        figure: ``bd_rate``, ``bd_rate_low``, ``bd_rate_high``, ``bd_quality``, ``bd_quality_percent``,
            ``losses`` (of a metric); ``encode_ratio``, ``decode_ratio`` (of none).
        metric: the metric, or empty.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        number: what the figure is held against.
    """

    text: str
    figure: str
    metric: str
    operator: str
    number: float

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """Read a bound.

        Raises:
            BoundError: it is malformed, or names an unknown figure.
            CurveError: it names an unknown metric.
        """
        match = _BOUND.fullmatch(text)
        if match is None:
            raise BoundError(f"cannot read '{text}': write a bound like 'bd_rate(psnr) > 2'")
        figure, metric = match["figure"], match["metric"] or ""
        if figure not in _FIGURES and figure not in _TIMES:
            raise BoundError(did_you_mean("figure", figure, [*_FIGURES, *_TIMES]))
        if (figure in _TIMES) is bool(metric):
            raise BoundError(
                f"'{figure}' takes no metric: write '{figure} > {match['number']}'"
                if metric
                else f"'{figure}' needs a metric: write '{figure}(psnr) > {match['number']}'"
            )
        if metric:
            metric_info(metric)
        return cls(text.strip(), figure, metric, match["operator"], float(match["number"]))

    def holds(self, comparisons: Iterable[Comparison]) -> bool:
        """Return whether the condition is true of any of the comparisons.

        Raises:
            BoundError: none of them has the metric, or one has no such figure: a gate that cannot be told
                must not pass in silence.
        """
        mine = [c for c in comparisons if not self.metric or c.metric == self.metric]
        if not mine:
            raise BoundError(f"cannot tell whether {self.text}: {self.metric or 'nothing'} was not compared")
        values = []
        for comparison in mine:
            value = (_FIGURES | _TIMES)[self.figure](comparison)
            if np.isnan(value):
                why = "; ".join(comparison.notes) or "the figure is not known"
                raise BoundError(f"cannot tell whether {self.text} for '{comparison.new}': {why}")
            values.append(value)
        return any(_OPERATORS[self.operator](value, self.number) for value in values)
