"""Rows to rate-distortion curves.

A curve is the mean of bpp and the mean of a metric over images, one point a rate, over the *same* images at
every rate: those that have the metric at all of them. Two curves that are compared are averaged over the
images that both have. A failed cell takes its image out of the average (and the curve says so); it never
blanks it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from rdbench.errors import BenchError, did_you_mean
from rdbench.metrics import metric_class, metric_names
from rdbench.records import curve_names, metric_columns, with_curves

Floats = npt.NDArray[np.float64]

MIN_COVERAGE = 0.5
"""A rate that fewer than this share of a curve's images have is left out, lest it take the images along."""


class CurveError(BenchError):
    """There is no such curve, or nothing to average."""


@dataclass(frozen=True)
class MetricInfo:
    """What a table or an axis needs to know of a metric."""

    name: str
    title: str
    unit: str
    higher_is_better: bool


_PUBLISHED_ONLY = {
    info.name: info
    for info in (
        MetricInfo("lpips", "LPIPS (backbone not stated)", "", higher_is_better=False),
        MetricInfo("dists", "DISTS", "", higher_is_better=False),
        MetricInfo("ssim", "SSIM", "", higher_is_better=True),
        MetricInfo("niqe", "NIQE", "", higher_is_better=False),
        MetricInfo("fid", "FID", "", higher_is_better=False),
        MetricInfo("kid", "KID", "", higher_is_better=False),
    )
}
"""Metrics that tables of the literature have and this package does not compute."""


def metric_info(name: str) -> MetricInfo:
    """Return title, unit and direction of a metric.

    Raises:
        CurveError: no such metric.
    """
    if name in _PUBLISHED_ONLY:
        return _PUBLISHED_ONLY[name]
    if name not in metric_names():
        raise CurveError(did_you_mean("metric", name, [*metric_names(), *_PUBLISHED_ONLY]))
    cls = metric_class(name)
    return MetricInfo(name, cls.title, cls.unit, cls.higher_is_better)


@dataclass(frozen=True)
class Curve:
    """A rate-distortion curve: P points, by ascending bpp.

    Attributes:
        name: the label, with step count and options where a label has several.
        metric: name of the quality metric.
        bpp: mean bits per pixel, shape (P,).
        quality: mean of the metric in its own units, shape (P,); infinite for a lossless point's PSNR.
        rates: the codec's own rate parameter, shape (P,); NaN where it is not known.
        images: the N images averaged; empty for a curve of which only the means are known.
        image_bpp: bits per pixel by image, shape (N, P); None where only the means are known.
        image_quality: the metric by image, shape (N, P); None where only the means are known.
        attempted: how many images there would be, had every cell succeeded.
        left_out: rates left out because too few images have them.
        source: where a published curve is from; empty for measured ones.
    """

    name: str
    metric: str
    bpp: Floats
    quality: Floats
    rates: Floats
    images: tuple[str, ...] = ()
    image_bpp: Floats | None = field(default=None, repr=False)
    image_quality: Floats | None = field(default=None, repr=False)
    attempted: int = 0
    left_out: tuple[float, ...] = ()
    source: str = ""

    @property
    def n_images(self) -> int:
        """How many images the points average; 0 where that is not known."""
        return len(self.images)

    @classmethod
    def from_points(
        cls,
        name: str,
        metric: str,
        bpp: Sequence[float] | Floats,
        quality: Sequence[float] | Floats,
        rates: Sequence[float] | Floats | None = None,
        source: str = "",
    ) -> "Curve":
        """Return a curve of dataset means in any order: a published table, say."""
        x, y = np.asarray(bpp, float), np.asarray(quality, float)
        if x.ndim != 1 or x.shape != y.shape:
            raise CurveError(f"'{name}': bpp and {metric} must be lists of the same length")
        r = np.full(len(x), np.nan) if rates is None else np.asarray(rates, float)
        order = np.argsort(x, kind="stable")
        return cls(name, metric, x[order], y[order], r[order], source=source)

    @classmethod
    def from_images(
        cls,
        name: str,
        metric: str,
        images: Iterable[str],
        image_bpp: Floats,
        image_quality: Floats,
        rates: Floats,
        **more: object,
    ) -> "Curve":
        """Return the curve that averages per-image values, each of shape (N, P)."""
        bpp = image_bpp.mean(axis=0)
        order = np.argsort(bpp, kind="stable")
        x, y = image_bpp[:, order], image_quality[:, order]
        curve = cls(name, metric, bpp[order], y.mean(axis=0), rates[order], tuple(images), x, y)
        return replace(curve, **more)  # type: ignore[arg-type]

    def restrict(self, images: Iterable[str]) -> "Curve":
        """Return the curve over those of its images that are among `images`, in the order of `images`.

        Raises:
            CurveError: none of them is, or only the means are known.
        """
        if self.image_bpp is None or self.image_quality is None:
            raise CurveError(f"'{self.name}' has dataset means only: it cannot be restricted to some images")
        place = {image: i for i, image in enumerate(self.images)}
        kept = [image for image in images if image in place]
        if not kept:
            raise CurveError(f"'{self.name}' has none of these images")
        rows = [place[image] for image in kept]
        return Curve.from_images(
            self.name,
            self.metric,
            kept,
            self.image_bpp[rows],
            self.image_quality[rows],
            self.rates,
            attempted=self.attempted,
            left_out=self.left_out,
            source=self.source,
        )

    def finite(self) -> "Curve":
        """Return the curve without the points whose quality is infinite (lossless, for PSNR)."""
        keep = np.isfinite(self.quality)
        if keep.all():
            return self
        return replace(
            self,
            bpp=self.bpp[keep],
            quality=self.quality[keep],
            rates=self.rates[keep],
            image_bpp=None if self.image_bpp is None else self.image_bpp[:, keep],
            image_quality=None if self.image_quality is None else self.image_quality[:, keep],
        )


class CurveSource(Protocol):
    """What curves can be had from: a measured label (`CurveData`), or a published table (`MeanPoints`)."""

    @property
    def name(self) -> str:
        """Name of its curves."""

    @property
    def dataset(self) -> str:
        """Name of the dataset; empty where it is not known."""

    @property
    def planned(self) -> int:
        """How many images there would be, had everything succeeded; 0 where that is not known."""

    @property
    def metrics(self) -> list[str]:
        """Metrics it has a curve for."""

    def curve(self, metric: str, images: Iterable[str] | None = None) -> Curve:
        """Return the curve of a metric, over some images only where it knows its images."""


@dataclass(frozen=True)
class CurveData:
    """Everything measured of one curve, as tables of N images by P rates; NaN where there is no value.

    Attributes:
        name: the curve's name.
        label: its label.
        steps: its denoising steps; NaN where there are none.
        images: N names, sorted.
        rates: the codec's own rate parameter, ascending, shape (P,).
        bpp: bits per pixel, shape (N, P).
        values: metric → shape (N, P).
        encode_s: seconds, shape (N, P).
        decode_s: seconds, shape (N, P).
        hashes: image → hash of its content, where the records have one.
        dataset: name of the dataset, or of all of them; empty where the records do not say.
        planned: how many images there would be, had every cell succeeded: at least those of all curves of the records.
        measured: share of the label's planned cells that have a row, 0 to 1; 1 where the plan is not known.
        failed: cells that failed.
        rows: cells that have a row, failed ones included.
    """

    name: str
    label: str
    steps: float
    images: tuple[str, ...]
    rates: Floats
    bpp: Floats
    values: Mapping[str, Floats]
    encode_s: Floats
    decode_s: Floats
    hashes: Mapping[str, str] = field(default_factory=dict, repr=False)
    dataset: str = ""
    planned: int = 0
    measured: float = 1.0
    failed: int = 0
    rows: int = 0

    @cached_property
    def metrics(self) -> list[str]:
        """Metrics that have at least one value."""
        return [name for name, table in self.values.items() if not np.isnan(table).all()]

    def complete(self, metric: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return masks of the rates kept, shape (P,), and of the images complete at those, shape (N,)."""
        table = self.values.get(metric)
        if table is None:
            return np.zeros(len(self.rates), bool), np.zeros(len(self.images), bool)
        have = ~np.isnan(table) & ~np.isnan(self.bpp)
        counts = have.sum(axis=0)
        kept = (counts > 0) & (counts >= MIN_COVERAGE * counts.max(initial=0))
        return kept, have[:, kept].all(axis=1) & kept.any()

    def complete_images(self, metric: str) -> list[str]:
        """Return the images that have the metric at every rate kept."""
        _, rows = self.complete(metric)
        return [image for image, complete in zip(self.images, rows, strict=True) if complete]

    def full_images(self, metric: str) -> set[str]:
        """Return the images that have the metric at every rate, those included that too few images have."""
        table = self.values.get(metric, np.full(self.bpp.shape, np.nan))
        rows = np.all(~np.isnan(table) & ~np.isnan(self.bpp), axis=1).tolist()
        return {image for image, full in zip(self.images, rows, strict=True) if full}

    def curve(self, metric: str, images: Iterable[str] | None = None) -> Curve:
        """Return the curve of a metric over its complete images, or over those of them that are in `images`.

        Raises:
            CurveError: there is no such image.
        """
        kept, rows = self.complete(metric)
        if images is not None:
            wanted = set(images)
            rows = rows & np.array([image in wanted for image in self.images], dtype=bool)
        if not rows.any():
            raise CurveError(f"'{self.name}' has no image with {metric} at every rate")
        table = self.values[metric]
        return Curve.from_images(
            self.name,
            metric,
            [image for image, row in zip(self.images, rows, strict=True) if row],
            self.bpp[np.ix_(rows, kept)],
            table[np.ix_(rows, kept)],
            self.rates[kept],
            attempted=max(len(self.images), self.planned),
            left_out=tuple(self.rates[~kept].tolist()),
        )


def all_curves(records: pd.DataFrame) -> dict[str, CurveData]:
    """Return every curve of the records by name, in the order of `curve_names`."""
    frame = with_curves(records)
    rows = frame.groupby("curve", observed=True).indices
    columns = [*metric_columns(frame), "bpp", "encode_s", "decode_s"]
    numbers = frame[columns].to_numpy(dtype=float, copy=True)
    failed = (frame["error"] != "").to_numpy()
    numbers[failed] = np.nan
    images = _image_names(frame)
    planned = len(set(images))
    dataset = dataset_name(frame)
    rates = frame["rate"].to_numpy(dtype=float)
    steps = frame["steps"].to_numpy(dtype=float)
    labels = frame["label"].to_numpy(dtype=object)
    hashes = frame["image_hash"].to_numpy(dtype=object) if "image_hash" in frame.columns else None
    result = {}
    for name in curve_names(frame):
        index = rows[name]
        codes, image_names = pd.factorize(images[index], sort=True)
        rate_values, columns_at = np.unique(rates[index], return_inverse=True)
        tables = np.full((len(columns), len(image_names), len(rate_values)), np.nan)
        tables[:, codes, columns_at] = numbers[index].T
        by_name = dict(zip(columns, tables, strict=True))
        bpp, encode_s, decode_s = (by_name.pop(column) for column in ("bpp", "encode_s", "decode_s"))
        result[name] = CurveData(
            name=name,
            label=str(labels[index[0]]),
            steps=float(steps[index[0]]),
            images=tuple(str(image) for image in image_names),
            rates=rate_values,
            bpp=bpp,
            values=by_name,
            encode_s=encode_s,
            decode_s=decode_s,
            hashes={} if hashes is None else _known(images[index], hashes[index]),
            dataset=dataset,
            planned=planned,
            failed=int(failed[index].sum()),
            rows=len(index),
        )
    return result


def with_plan(curves: Mapping[str, CurveData], plan: tuple[int, Mapping[str, int]]) -> dict[str, CurveData]:
    """Return curves of a results folder that know what was planned, so that a run that stopped early shows.

    Args:
        curves: all curves of the folder, by name.
        plan: how many images, and how many cells by label; see `planned_cells`.
    """
    images, cells = plan
    rows: dict[str, int] = {}
    for data in curves.values():
        rows[data.label] = rows.get(data.label, 0) + data.rows
    result = {}
    for name, data in curves.items():
        wanted = cells.get(data.label, 0)
        share = min(1.0, rows[data.label] / wanted) if wanted else 1.0
        result[name] = replace(data, planned=max(data.planned, images), measured=share)
    return result


def dataset_name(records: pd.DataFrame) -> str:
    """Return the name of the records' dataset, or of all of them; "" where they do not say."""
    if "dataset" not in records.columns:
        return ""
    return ", ".join(sorted(set(records["dataset"].dropna().astype(str))))


def _image_names(records: pd.DataFrame) -> "npt.NDArray[np.object_]":
    """Return each row's image, with its dataset where the records have several."""
    images = records["image"].to_numpy(dtype=object)
    if "dataset" in records.columns and records["dataset"].nunique() > 1:
        images = records["dataset"].to_numpy(dtype=object) + "/" + images
    return images


def _known(images: Iterable[object], hashes: Iterable[object]) -> dict[str, str]:
    pairs = zip(images, hashes, strict=True)
    return {str(image): digest for image, digest in pairs if isinstance(digest, str) and digest}


def curve_data(records: pd.DataFrame, name: str) -> CurveData:
    """Return one curve by its name, or by its label where that has but one curve.

    Raises:
        CurveError: there is none of that name, or the label has several.
    """
    frame = with_curves(records)
    found = resolve_curve(frame, name)
    data = all_curves(frame[frame["curve"] == found])[found]
    return replace(data, planned=len(set(_image_names(frame))))


def resolve_curve(records: pd.DataFrame, name: str) -> str:
    """Return the name of the curve that `name` (a curve's name, or a label) means.

    Raises:
        CurveError: there is none of that name, or the label has several.
    """
    names = curve_names(records)
    if name in names:
        return name
    frame = with_curves(records)
    mine = [curve for curve in names if curve in set(frame.loc[frame["label"] == name, "curve"])]
    if not mine:
        raise CurveError(did_you_mean("curve", name, names))
    if len(mine) > 1:
        raise CurveError(f"'{name}' has several curves, name one of them: {'; '.join(mine)}")
    return mine[0]


def common_images(curves: Iterable[CurveData], metric: str) -> list[str]:
    """Return the images that every one of the curves has the metric of, at all its rates; sorted."""
    sets = [set(data.complete_images(metric)) for data in curves]
    return sorted(set.intersection(*sets)) if sets else []


def rd_curve(records: pd.DataFrame, curve: str, metric: str, images: Iterable[str] | None = None) -> Curve:
    """Return one curve of the records; see `CurveData.curve`.

    Raises:
        CurveError: there is no such curve or metric, or no image to average.
    """
    metric_info(metric)
    return curve_data(records, curve).curve(metric, images)
