"""What the interactive rate-distortion charts show: the same curves, styles and ranges as `rdbench plot`."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rdbench.curves import Curve, CurveData, all_curves, dataset_name, metric_info
from rdbench.drawing import LOG_RATIO, DrawnCurve, Style, luminance, quality_range
from rdbench.interop.compressai import MeanPoints
from rdbench.plots import (
    HOLLOW,
    clipped,
    default_steps,
    measured_curves,
    published_name,
    published_style,
    styles_of,
)
from rdbench.provenance import experiment_in
from rdbench.records import metric_columns
from rdbench.report.numbers import plain
from rdcodecs import CodecError
from rdcodecs.registry import available_codecs, codec_class

_SYMBOLS = {
    "D": "diamond",
    "*": "star",
    "H": "hexagon2",
    "s": "square",
    "^": "triangle-up",
    "p": "pentagon",
    "v": "triangle-down",
    "P": "cross",
    "o": "circle",
    "<": "triangle-left",
    ">": "triangle-right",
    "X": "x",
    "h": "hexagon",
    "d": "diamond-tall",
}
"""matplotlib's markers as plotly names them."""
_DARKEST = 0.18
"""Least relative luminance of a line on a dark page: a contrast of 3 or more with it (WCAG 2.1)."""


def main_curves(records: pd.DataFrame) -> list[CurveData]:
    """Return the curves that are compared with each other: of a label with several step counts, one count's."""
    by_label: dict[str, list[CurveData]] = {}
    for data in all_curves(records).values():
        by_label.setdefault(data.label, []).append(data)
    return [data for mine in by_label.values() for data in default_steps(mine)]


def rd_charts(records: pd.DataFrame, overlays: Sequence[MeanPoints], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the charts by metric, how each curve looks, and of every curve the one drawn that has its colour.

    Args:
        records: rows as of records.csv.
        overlays: published curves.
        provenance: content of provenance.json; tells options and versions of the codecs.
    """
    curves = main_curves(records)
    styles = styles_of({data.name: data.label for data in curves})
    dataset = dataset_name(records)
    facts = _Facts(records, provenance)
    charts = {}
    looks = [_look(data.name, styles[data.name], facts.settings(data.label)) for data in curves]
    overlay_styles: dict[str, Style] = {}
    for i, source in enumerate(overlays):
        overlay_styles |= published_style(source, styles | overlay_styles, HOLLOW[i % len(HOLLOW)])
        looks.append(_look(published_name(source, dataset), overlay_styles[source.name], _origin(source)))
    by_name = {data.name: data for data in curves}
    for metric in metric_columns(records):
        measured, notes = measured_curves(curves, metric, dataset)
        if not measured:
            continue
        lines = [facts.line(curve, by_name[curve.name]) for curve in measured]
        drawn = [_drawn(curve, styles[curve.name]) for curve in measured]
        low, high = min(line.bpp[0] for line in drawn), max(line.bpp[-1] for line in drawn)
        for source in overlays:
            if metric not in source.metrics:
                continue
            shown = clipped(source.curve(metric).finite(), low, high, overlay_styles[source.name])
            if shown is None:
                notes.append(f"{source.name} has no point at these rates")
                continue
            drawn.append(shown)
            lines.append(
                {
                    "curve": published_name(source, dataset),
                    "bpp": plain(shown.bpp),
                    "quality": plain(shown.quality),
                    "marked": shown.marked.tolist(),
                }
            )
        bottom, top, runs_off = quality_range(drawn)
        charts[metric] = {
            "lines": lines,
            "log": bool(low > 0 and high / low > LOG_RATIO),
            "quality_range": [bottom, top],
            "note": _sentence([*notes, *runs_off]),
        }
    drawn_as = {data.label: data.name for data in reversed(curves)}
    variants = {data.name: drawn_as[data.label] for data in all_curves(records).values()}
    return {"looks": looks, "charts": charts, "variants": variants}


def for_dark(colour: str) -> str:
    """Return a colour (#RRGGBB) that is light enough to be seen on a dark page, of the same hue."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    if not any(channels):  # black turns white: a grey would be taken for the palette's own
        return "#F2F2F2"
    while luminance(channels) < _DARKEST:
        channels = [c + 0.08 * (1 - c) for c in channels]
    return "#" + "".join(f"{round(255 * c):02X}" for c in channels)


def rate_names(records: pd.DataFrame) -> dict[str, str]:
    """Return label → what its codec calls its rate parameter ("QP"); "rate" for a codec that is not installed."""
    if "codec" not in records.columns:
        return {str(label): "rate" for label in records["label"].unique()}
    pairs = records[["label", "codec"]].drop_duplicates("label").itertuples(index=False)
    return {str(label): _rate_name(str(codec)) for label, codec in pairs}


def _rate_name(codec: str) -> str:
    # only by a registered name: a file that a table names must not be run
    if codec not in available_codecs():
        return "rate"
    try:
        return codec_class(codec).rate.name
    except CodecError:
        return "rate"


class _Facts:
    """What can be said of a point besides bpp and quality."""

    def __init__(self, records: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
        self._codecs = provenance.get("codecs") or {}
        self._experiment = experiment_in(provenance).get("name", "")
        self._rate_names = rate_names(records)
        good = records[records["error"] == ""]
        self._bytes: Callable[[str, float, Sequence[str]], float] = lambda *_: np.nan
        if "bytes" in good.columns:
            images = good["image"].astype(object)
            if "dataset" in good.columns and records["dataset"].nunique() > 1:
                images = good["dataset"].astype(object) + "/" + images
            keys = zip(good["curve"].astype(object), good["rate"], images, strict=True)
            table = dict(zip(keys, good["bytes"], strict=True))
            self._bytes = lambda curve, rate, names: float(
                np.mean([table.get((curve, rate, name), np.nan) for name in names])
            )

    def settings(self, label: str) -> str:
        """Return options and versions of a label's codec in one line."""
        entry = self._codecs.get(label)
        fingerprint = entry.get("fingerprint") if isinstance(entry, dict) else None
        return settings_text(fingerprint) if isinstance(fingerprint, dict) else ""

    def line(self, curve: Curve, data: CurveData) -> dict[str, Any]:
        """Return a measured curve as the page draws it."""
        rows = np.isin(np.array(data.images, dtype=object), np.array(curve.images, dtype=object))
        columns = [int(np.flatnonzero(data.rates == rate)[0]) for rate in curve.rates]
        command = ["rdbench", "run", self._experiment, "--codec", data.label, "--rates"]
        return {
            "curve": curve.name,
            "bpp": plain(curve.bpp),
            "quality": plain(curve.quality),
            "images": curve.n_images,
            "attempted": curve.attempted,
            "rate_name": self._rate_names.get(data.label, "rate"),
            "rate": [f"{rate:g}" for rate in curve.rates],
            "bytes": plain([self._bytes(curve.name, rate, curve.images) for rate in curve.rates]),
            "encode_s": plain([_mean(data.encode_s[rows, j]) for j in columns]),
            "decode_s": plain([_mean(data.decode_s[rows, j]) for j in columns]),
            "command": shlex.join(command) if self._experiment else "",
        }


def settings_text(fingerprint: Mapping[str, Any]) -> str:
    """Return a codec's fingerprint in one line: options first, versions after them; long hashes shortened."""
    options = fingerprint.get("options")
    first = {k: v for k, v in options.items() if v is not None} if isinstance(options, dict) else {}
    rest = {k: v for k, v in fingerprint.items() if k not in ("codec", "options", "conversion")}
    parts = []
    for name, value in (first | rest).items():
        text = str(value)
        parts.append(f"{name} {text[:12] + '…' if len(text) > 40 and text.isalnum() else text}")
    return ", ".join(parts)


def _origin(source: MeanPoints) -> str:
    """Return where a published curve is from: dataset, number of images, address."""
    images = source.meta.get("n_images")
    parts = (source.dataset, f"{images} images" if images else "", source.meta.get("url"))
    return ", ".join(str(part) for part in parts if part)


def _look(name: str, style: Style, settings: str) -> dict[str, Any]:
    return {
        "name": name,
        "colour": style.colour,
        "dark": for_dark(style.colour),
        "symbol": _SYMBOLS[style.marker] + ("-open" if style.published else ""),
        "published": style.published,
        "settings": settings,
    }


def _drawn(curve: Curve, style: Style) -> DrawnCurve:
    return DrawnCurve(curve.name, curve.bpp, curve.quality, style, np.ones(len(curve.bpp), bool))


def _mean(values: "np.typing.NDArray[np.float64]") -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan


def _sentence(notes: Sequence[str]) -> str:
    text = "; ".join(notes)
    return f"{text[:1].upper()}{text[1:]}."


def axis_title(metric: str) -> str:
    """Return what the quality axis says."""
    info = metric_info(metric)
    unit = f" ({info.unit})" if info.unit else ""
    return f"{info.title}{unit}   {'↑' if info.higher_is_better else '↓'} better"
