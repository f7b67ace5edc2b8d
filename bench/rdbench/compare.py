"""Hold one curve against another, by every figure that there is, also across results folders; the table of bd.csv."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from rdbench.bd import (
    NO_IMAGES,
    BDError,
    BDResult,
    ImageMean,
    NoOverlapError,
    bd_quality,
    bd_rate,
    image_bd_rates,
    image_mean,
    paired_curves,
)
from rdbench.curves import (
    Curve,
    CurveData,
    CurveError,
    CurveSource,
    all_curves,
    curve_data,
    metric_info,
    resolve_curve,
)
from rdbench.integrals import Method
from rdbench.records import metric_columns, with_curves
from rdbench.stats import sign_test
from rdbench.text import counted


@dataclass(frozen=True)
class Comparison:
    """One curve against another, by one metric.

    Attributes:
        base: name of the curve compared against.
        new: name of the curve compared.
        metric: the metric.
        n_images: images averaged in both; 0 where only dataset means are known.
        bd_rate: BD-rate of the mean curves, or None where there is none.
        bd_quality: BD-quality of the mean curves, or None where there is none.
        bd_rate_images: the mean of the images' own BD-rates.
        by_image: BD-rate of each image's own curves in percent, by name, see `image_bd_rates`: infinite where they
            share no quality and one is ahead at every rate, NaN where nothing can be said. Empty where only dataset
            means are known.
        overlap: share of the joint quality range that both mean curves cover, 0 to 1; NaN where it is not known.
        coverage: share of the planned images that have a value at every rate of both curves, or of the planned cells
            that have a row, whichever is less; 0 to 1, NaN where no image is known.
        failed: cells of `base` and of `new` that failed, whatever their image; NaN where a curve has no cells.
        mismatch: why the two may not be means over the same images; empty where nothing says so.
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
    bd_rate_images: ImageMean = NO_IMAGES
    by_image: Mapping[str, float] = field(default_factory=dict)
    overlap: float = np.nan
    coverage: float = np.nan
    failed: tuple[float, float] = (np.nan, np.nan)
    mismatch: str = ""
    encode_ratio: float = np.nan
    decode_ratio: float = np.nan
    at: Mapping[float, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())

    @property
    def wins(self) -> int:
        """Images for which `new` needs fewer bits."""
        return sum(bool(value < 0) for value in self.by_image.values())

    @property
    def losses(self) -> int:
        """Images for which `new` needs more bits."""
        return sum(bool(value > 0) for value in self.by_image.values())

    @property
    def undefined(self) -> int:
        """Images of which it cannot be said."""
        return sum(bool(np.isnan(value)) for value in self.by_image.values())

    @property
    def sign_p(self) -> float:
        """Two-sided p-value of the sign test over the images won and lost; NaN where there are none."""
        return sign_test(self.wins, self.losses)

    def worst(self, count: int) -> list[tuple[str, float]]:
        """Return the images for which `new` needs most bits, with their BD-rate, the worst first."""
        known = [(image, value) for image, value in self.by_image.items() if not np.isnan(value)]
        # Rounded, so that the order of equal images does not hang on the last bit.
        return sorted(known, key=lambda pair: -round(pair[1], 6))[:count]


def compare(
    base_records: pd.DataFrame,
    base_name: str,
    new_records: pd.DataFrame,
    new_name: str,
    metrics: Sequence[str] | None = None,
    *,
    method: Method = "pchip",
    interval: bool = True,
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
        interval: whether to compute the intervals.

    Raises:
        CurveError: a curve or metric does not exist, or the curves share no metric.
    """
    base, new = curve_data(base_records, base_name), curve_data(new_records, new_name)
    return compare_curves(base, new, metrics, method=method, interval=interval)


def compare_curves(
    base: CurveSource,
    new: CurveSource,
    metrics: Sequence[str] | None = None,
    *,
    method: Method = "pchip",
    interval: bool = True,
    at: Sequence[float] = (),
) -> list[Comparison]:
    """Compare two curves, either of which may be a published one; see `compare`.

    `at` are rates in bits per pixel, where qualities are read off both curves besides.
    """
    if metrics is None:
        metrics = [name for name in base.metrics if name in new.metrics]
        if not metrics:
            raise CurveError(f"'{base.name}' and '{new.name}' have no metric in common")
    return [_compare(base, new, metric, method, interval, at) for metric in metrics]


def bd_table(
    records: pd.DataFrame,
    anchor: str | CurveSource,
    metrics: Sequence[str] | None = None,
    *,
    method: Method = "pchip",
    interval: bool = True,
) -> pd.DataFrame:
    """Return the table of bd.csv: every curve of the records against the anchor, by every metric.

    Each pair is averaged over the images that both curves have. Lossless points are left out and noted. Where
    a figure cannot be had its cell is NaN and `note` says why; a note also stands beside a figure to be read
    with care.

    Args:
        records: rows as of records.csv.
        anchor: a curve's name (or label, where it has one curve), or a published table.
        metrics: names; by default every metric in the records.
        method: the interpolation.
        interval: whether to compute the intervals.

    Returns:
        Columns anchor, label (the curve's name), metric, unit, method, n_images; of the mean curves bd_rate,
        bd_rate_low, bd_rate_high (percent), bd_rate_overlap (0 to 1); of the images' own curves bd_rate_images,
        bd_rate_images_low, bd_rate_images_high (percent), bd_rate_images_n (how many have one), wins, losses; of the
        mean curves bd_quality, bd_quality_low, bd_quality_high (in `unit`), bd_quality_percent, bd_quality_overlap;
        note.

    Raises:
        CurveError: the anchor or a metric does not exist.
    """
    frame = with_curves(records)
    sources: dict[str, CurveSource] = dict(all_curves(frame))
    base = sources.pop(resolve_curve(frame, anchor)) if isinstance(anchor, str) else anchor
    names = list(metrics if metrics is not None else metric_columns(frame))
    rows = [
        _table_row(_compare(base, source, name, method, interval, ())) | {"method": method}
        for name in names
        for source in sources.values()
    ]
    return pd.DataFrame(rows, columns=_TABLE_COLUMNS)


_TABLE_COLUMNS = [
    *("anchor", "label", "metric", "unit", "method", "n_images"),
    *("bd_rate", "bd_rate_low", "bd_rate_high", "bd_rate_overlap"),
    *("bd_rate_images", "bd_rate_images_low", "bd_rate_images_high", "bd_rate_images_n", "wins", "losses"),
    *("bd_quality", "bd_quality_low", "bd_quality_high", "bd_quality_percent", "bd_quality_overlap", "note"),
]


def _table_row(comparison: Comparison) -> dict[str, Any]:
    own = comparison.bd_rate_images
    row: dict[str, Any] = {
        "anchor": comparison.base,
        "label": comparison.new,
        "metric": comparison.metric,
        "unit": metric_info(comparison.metric).unit or "raw",
        "n_images": comparison.n_images,
        "bd_rate_images": own.value,
        "bd_rate_images_low": own.low,
        "bd_rate_images_high": own.high,
        "bd_rate_images_n": own.n_images,
        "wins": comparison.wins,
        "losses": comparison.losses,
        "note": "; ".join(comparison.notes),
    }
    for name, result in (("bd_rate", comparison.bd_rate), ("bd_quality", comparison.bd_quality)):
        if result is not None:
            row |= {name: result.value, f"{name}_low": result.low, f"{name}_high": result.high}
            row |= {f"{name}_overlap": result.overlap}
    if comparison.bd_quality is not None:
        row["bd_quality_percent"] = comparison.bd_quality.percent
    return row


def _compare(
    base: CurveSource, new: CurveSource, metric: str, method: Method, interval: bool, at: Sequence[float]
) -> Comparison:
    metric_info(metric)
    known: dict[str, Any] = {
        "failed": (_failed(base), _failed(new)),
        "coverage": _coverage(base, new, metric),
        "mismatch": _mismatch(base, new),
    }
    try:
        anchor, test, found = _same_images(base, new, metric)
    except (BDError, CurveError) as error:
        return Comparison(base.name, new.name, metric, notes=(str(error),), **known)
    notes = list(found)
    figures: list[BDResult | None] = []
    errors: dict[str, BDError] = {}
    calculations: tuple[tuple[str, Callable[..., BDResult]], ...] = (("BD-rate", bd_rate), ("BD-quality", bd_quality))
    for name, figure in calculations:
        try:
            result = figure(anchor, test, method=method, interval=interval)
        except BDError as error:
            errors[name] = error
            figures.append(None)
        else:
            notes += result.notes
            figures.append(result)
    same = len({str(error) for error in errors.values()}) == 1 < len(errors)
    notes += [str(error) if same else f"{name}: {error}" for name, error in errors.items()]
    overlap = 0.0 if isinstance(errors.get("BD-rate"), NoOverlapError) else np.nan
    if figures[0] is not None:
        overlap = figures[0].overlap
    by_image: dict[str, float] = {}
    if anchor.images and anchor.images == test.images:
        try:
            by_image = dict(zip(anchor.images, image_bd_rates(anchor, test, method=method).tolist(), strict=True))
        except BDError as error:
            notes.append(f"by image: {error}")
    read, unread = _qualities_at(anchor, test, at)
    return Comparison(
        base.name,
        new.name,
        metric,
        n_images=max(anchor.n_images, test.n_images),
        bd_rate=figures[0],
        bd_quality=figures[1],
        bd_rate_images=image_mean(np.array(list(by_image.values()))),
        by_image=by_image,
        overlap=overlap,
        encode_ratio=_time_ratio(base, new, "encode_s", anchor.images),
        decode_ratio=_time_ratio(base, new, "decode_s", anchor.images),
        at=read,
        notes=tuple(dict.fromkeys([*notes, *unread])),
        **known,
    )


def _same_images(base: CurveSource, new: CurveSource, metric: str) -> tuple[Curve, Curve, tuple[str, ...]]:
    """Return both curves over the images that are the same in both, and notes.

    Raises:
        CurveError: one has no such curve.
        BDError: there is no such image.
    """
    anchor, test, notes = paired_curves(base, new, metric)
    changed = _changed_images(base, new, anchor.images)
    if changed:
        same = [image for image in anchor.images if image not in changed]
        if not same:
            raise BDError(f"no image is the same in '{base.name}' and '{new.name}': their hashes differ")
        anchor, test = anchor.restrict(same), test.restrict(same)
        notes += (f"{counted(len(changed), 'image')} left out: not the same in the two runs",)
    return anchor, test, notes


def _failed(source: CurveSource) -> float:
    return float(source.failed) if isinstance(source, CurveData) else np.nan


def _coverage(base: CurveSource, new: CurveSource, metric: str) -> float:
    measured = [source for source in (base, new) if isinstance(source, CurveData)]
    if not measured:
        return np.nan
    images = set.intersection(*(source.full_images(metric) for source in measured))
    images -= _changed_images(base, new, images)
    planned = max(base.planned, new.planned, *(len(source.images) for source in measured))
    return min(len(images) / planned if planned else 0.0, *(source.measured for source in measured))


def _mismatch(base: CurveSource, new: CurveSource) -> str:
    """Say where dataset means are of one dataset and what they are held against is of another."""
    if isinstance(base, CurveData) and isinstance(new, CurveData):
        return ""  # their images are known
    if not base.dataset or not new.dataset or base.dataset.casefold() == new.dataset.casefold():
        return ""
    return f"not the same images: {base.name} was measured on {base.dataset}, {new.name} on {new.dataset}"


def _qualities_at(
    anchor: Curve, test: Curve, at: Sequence[float]
) -> tuple[dict[float, tuple[float, float]], list[str]]:
    """Return both curves' qualities by rate, and a note for each rate that one of them does not reach."""
    read: dict[float, tuple[float, float]] = {}
    notes = []
    for bpp in at:
        pair = _quality_at(anchor, bpp), _quality_at(test, bpp)
        if np.isnan(pair).any():
            notes.append(f"at {bpp:g} bpp there is no quality: one of the curves does not reach it")
        else:
            read[bpp] = pair
    return read, notes


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
    wanted = set(images)
    for data in (base, new):
        rows = [image in wanted for image in data.images]  # numpy's own test is slow for texts
        times = getattr(data, column)[rows]
        known = times[~np.isnan(times)]
        means.append(known.mean() if known.size else np.nan)
    return float(means[1] / means[0]) if means[0] else np.nan
