"""CompressAI's results JSON, the field's exchange format for rate-distortion curves, in and out.

One file is one curve: ``{"name", "description", "meta", "results": {"bpp": [...], "psnr-rgb": [...], ...}}``,
the lists parallel, one dataset mean per point. See
https://github.com/InterDigitalInc/CompressAI/tree/master/results.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

import rdbench
from rdbench.curves import Curve, CurveData, CurveError, curve_data, dataset_name, metric_info
from rdbench.errors import BenchError
from rdbench.files import read_text
from rdbench.interop.plausible import implausible

Floats = npt.NDArray[np.float64]

_OURS = {
    "psnr-rgb": "psnr",
    "ms-ssim-rgb": "ms_ssim",
    "ms-ssim-db-rgb": "ms_ssim_db",
    "ms-ssim-db": "ms_ssim_db",
}
_THEIRS = {"psnr": "psnr-rgb", "ms_ssim": "ms-ssim-rgb", "ms_ssim_db": "ms-ssim-db-rgb"}
_GENERATOR = "rdbench "
_TIMES = ("encoding_time", "decoding_time")


class InteropError(BenchError):
    """A file of another suite that is missing or malformed."""


@dataclass(frozen=True)
class MeanPoints:
    """One curve of which dataset means are known, and nothing by image.

    Attributes:
        label: what the file calls it ("VTM").
        description: free text.
        source: short name of where it is from ("CompressAI"); empty where the file does not say.
        bpp: mean bits per pixel, shape (P,); NaN where the file has none.
        values: metric → means, shape (P,); NaN where the file has none.
        rates: the codec's own rate parameter, shape (P,); NaN where it is not known or not a number.
        encode_s: mean seconds per image, shape (P,); NaN where not known.
        decode_s: mean seconds per image, shape (P,); NaN where not known.
        meta: what else the file says of itself.
    """

    label: str
    description: str
    source: str
    bpp: Floats
    values: Mapping[str, Floats]
    rates: Floats
    encode_s: Floats
    decode_s: Floats
    meta: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Label and source, as in "VTM (CompressAI)"."""
        return f"{self.label} ({self.source})" if self.source else self.label

    @property
    def dataset(self) -> str:
        """Name of the dataset averaged over; empty where the file does not say."""
        return str(self.meta.get("dataset", ""))

    @property
    def planned(self) -> int:
        """How many images the means are over; 0 where the file does not say."""
        images = self.meta.get("n_images")
        return images if isinstance(images, int) else 0

    @property
    def metrics(self) -> list[str]:
        """Metrics that have a point with a rate."""
        return [name for name, values in self.values.items() if (self._known(values)).any()]

    def _known(self, values: Floats) -> npt.NDArray[np.bool_]:
        return ~np.isnan(values) & ~np.isnan(self.bpp)

    def curve(self, metric: str, images: Iterable[str] | None = None) -> Curve:
        """Return the curve of a metric, by ascending bpp, without the points that lack one of the two.

        Args:
            metric: name of the metric.
            images: ignored: these are means over the whole dataset.

        Raises:
            CurveError: there is no point of that metric.
        """
        metric_info(metric)
        if metric not in self.metrics:
            have = ", ".join(self.metrics) or "no metric with a rate"
            raise CurveError(f"'{self.name}' has no {metric}: it has {have}")
        values = self.values[metric]
        keep = self._known(values)
        return Curve.from_points(
            self.name,
            metric,
            self.bpp[keep],
            values[keep],
            self.rates[keep],
            source=self.source or "imported",
        )

    def summary(self) -> pd.DataFrame:
        """Return the points as rows of summary.csv, without coverage."""
        times = {"encode_s": self.encode_s, "decode_s": self.decode_s}
        table = {"curve": self.name, "label": self.label, "rate": self.rates, "bpp": self.bpp}
        return pd.DataFrame(table | dict(self.values) | times)

    def to_compressai(self) -> dict[str, Any]:
        """Return the curve as CompressAI's JSON document; NaN becomes null."""
        lists = {"bpp": self.bpp} | {_theirs(name): values for name, values in self.values.items()}
        for name, times in zip(_TIMES, (self.encode_s, self.decode_s), strict=True):
            if not np.isnan(times).all():
                lists[name] = times
        meta = dict(self.meta)
        if self.source:
            meta["source"] = self.source
        if not np.isnan(self.rates).all():
            meta["rate"] = _numbers(self.rates)
        results = {name: _numbers(values) for name, values in lists.items()}
        return {"name": self.label, "description": self.description, "meta": meta, "results": results}


def import_compressai(path: Path | str) -> MeanPoints:
    """Read a results JSON of CompressAI.

    ``psnr-rgb`` and ``ms-ssim-rgb`` (in files before 2023: ``psnr`` and ``ms-ssim``) become ``psnr`` and
    ``ms_ssim``, ``ms-ssim-db-rgb`` becomes ``ms_ssim_db``; any other metric keeps its name, with "_" for "-".
    Entries that are not numbers (null, "/") are points the file does not have.

    Raises:
        InteropError: the file is missing, not JSON, not of that form, or its figures cannot be what their columns
            say (dB under ``ms-ssim-rgb``, percent under ``bpp`` ...).
    """
    file = Path(path)
    try:
        document = json.loads(read_text(file))
    except FileNotFoundError as error:
        raise InteropError(f"'{file}' does not exist") from error
    except OSError as error:
        raise InteropError(f"cannot read '{file}': {error.strerror or error}") from error
    except UnicodeError as error:
        raise InteropError(f"'{file}' is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise InteropError(f"'{file}' is not JSON: {error.msg} in line {error.lineno}") from error
    if not isinstance(document, dict) or not isinstance(document.get("results"), dict):
        raise InteropError(f"'{file}' is not a CompressAI result: it has no 'results' object")
    results = document["results"]
    if "bpp" not in results:
        raise InteropError(f"'{file}' is not a CompressAI result: its 'results' have no 'bpp'")
    lists: dict[str, Floats] = {}
    for name, values in results.items():
        if not isinstance(values, list) or not values:
            raise InteropError(f"'{file}': '{name}' is not a list of numbers")
        if len(values) != len(results["bpp"]):
            raise InteropError(f"'{file}': '{name}' has length {len(values)}, 'bpp' has {len(results['bpp'])}")
        written = next((value for value in values if isinstance(value, str) and _is_number(value)), None)
        if written is not None:
            raise InteropError(f"'{file}': '{name}' has the text \"{written}\": write numbers without quotes and signs")
        lists[name] = _floats(values)
    bpp = lists.pop("bpp")
    unknown = np.full(len(bpp), np.nan)
    encode_s, decode_s = (lists.pop(name, unknown) for name in _TIMES)
    metrics: dict[str, Floats] = {}
    for name in sorted(lists, key=lambda name: name not in _OURS):  # "psnr-rgb" goes before a bare "psnr"
        metrics.setdefault(_ours(name), lists[name])
    if not metrics:
        raise InteropError(f"'{file}' has no metric beside bpp and times")
    meta = document.get("meta")
    meta = dict(meta) if isinstance(meta, dict) else {}
    ours = str(meta.get("generator", "")).startswith(_GENERATOR)  # what was measured is what it is, however odd
    if not ours and (problem := implausible(bpp, metrics)):
        column, why = problem
        name = next((name for name in (column, *lists) if name in results and _ours(name) == column), column)
        raise InteropError(f"'{file}': '{name}' {why}")
    rates = meta.pop("rate", None)
    known = isinstance(rates, list) and len(rates) == len(bpp)
    return MeanPoints(
        label=str(document.get("name") or file.stem),
        description=str(document.get("description") or ""),
        source=str(meta.pop("source", "")),
        bpp=bpp,
        values=metrics,
        rates=_floats(rates) if known else unknown,
        encode_s=encode_s,
        decode_s=decode_s,
        meta=meta,
    )


def export_compressai(records: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return one curve of the records as CompressAI's JSON document.

    Every list is a mean over the same images: those whose cells succeeded at every rate. A metric that is
    missing for one of them (it is not defined for small images, say) is left out, and a rate with a lossless
    image too, as JSON has no infinity; ``meta`` names both.

    Args:
        records: rows as of records.csv.
        name: a curve's name, or a label that has one curve.

    Raises:
        CurveError: there is no such curve, or no image is complete.
    """
    data = curve_data(records, name)
    rows, kept = _complete(data)
    means = {metric: data.values[metric][np.ix_(rows, kept)].mean(axis=0) for metric in data.metrics}
    partial = sorted(metric for metric, values in means.items() if np.isnan(values).any())
    means = {metric: values for metric, values in means.items() if metric not in partial}
    if not means:
        raise CurveError(f"'{data.name}' has no metric of every image: there is nothing to export")
    finite = np.all([np.isfinite(values) for values in means.values()], axis=0)
    rates = data.rates[kept]
    meta: dict[str, Any] = {"generator": f"{_GENERATOR}{rdbench.__version__}", "n_images": int(rows.sum())}
    if dataset := dataset_name(records):
        meta["dataset"] = dataset
    if partial:
        meta["left_out_metrics"] = partial
    left_out = [*data.rates[~kept].tolist(), *rates[~finite].tolist()]
    if left_out:
        meta["left_out_rates"] = left_out
    order = np.flatnonzero(finite)
    bpp = data.bpp[np.ix_(rows, kept)].mean(axis=0)
    order = order[np.argsort(bpp[order], kind="stable")]

    def times(table: Floats) -> Floats:
        # a timing may be missing where nothing else is
        some = table[np.ix_(rows, kept)]
        counts = (~np.isnan(some)).sum(axis=0)
        mean: Floats = np.where(counts > 0, np.nansum(some, axis=0) / np.maximum(counts, 1), np.nan)[order]
        return mean

    return MeanPoints(
        label=data.name,
        description=f"{data.name}, measured with rdbench: mean over {int(rows.sum())} images",
        source="",
        bpp=bpp[order],
        values={metric: values[order] for metric, values in means.items()},
        rates=rates[order],
        encode_s=times(data.encode_s),
        decode_s=times(data.decode_s),
        meta=meta,
    ).to_compressai()


def _complete(data: CurveData) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the images that succeeded at every rate kept, and those rates."""
    succeeded = CurveData(
        name=data.name,
        label=data.label,
        steps=data.steps,
        images=data.images,
        rates=data.rates,
        bpp=data.bpp,
        values={"bpp": data.bpp},
        encode_s=data.encode_s,
        decode_s=data.decode_s,
    )
    kept, rows = succeeded.complete("bpp")
    if not rows.any():
        raise CurveError(f"'{data.name}' has no image that succeeded at every rate")
    return rows, kept


def _ours(name: str) -> str:
    return _OURS.get(name, name.replace("-", "_"))


def _theirs(name: str) -> str:
    return _THEIRS.get(name, name.replace("_", "-"))


def _floats(values: list[Any]) -> Floats:
    return np.array([_float(value) for value in values], dtype=float)


def _is_number(text: str) -> bool:
    """Whether a text is a number, maybe with a percent sign: a figure that would be lost as a missing one."""
    try:
        float(text.strip().rstrip("%"))
    except ValueError:
        return False
    return True


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _numbers(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]
