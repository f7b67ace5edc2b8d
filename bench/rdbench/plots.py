"""Rate-distortion plots: one per metric with every label, and one per label that has several step counts."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from rdbench.curves import (
    MIN_COVERAGE,
    Curve,
    CurveData,
    all_curves,
    common_images,
    dataset_name,
    metric_info,
)
from rdbench.drawing import FORMATS, DrawnCurve, NothingToDrawError, Style, draw
from rdbench.interop.compressai import MeanPoints
from rdbench.interop.published import load_published
from rdbench.layout import PLOTS
from rdbench.records import load_records, metric_columns
from rdbench.text import counted

DEFAULT_STEPS = 10.0
"""Of a label with several step counts, the plots of all codecs show the one nearest to this."""

# Okabe and Ito's palette without its yellow, which is too pale for lines on white, and colours of Paul Tol's
# "muted": both made to be told apart with any common colour vision deficiency. The pink is of ColorBrewer's "Dark2"
_PALETTE = (
    *("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933", "#332288", "#44AA99", "#777777"),
    *("#8B4513", "#AA4499", "#E7298A", "#117733"),
)
_MARKERS = ("D", "s", "^", "p", "v", "P", "o", "<", ">", "X", "h", "d", "*", "H")
HOLLOW = ("o", "s", "^", "D", "v")
"""Markers of published curves: those that can be told apart hollow."""
_USUAL = {
    "vtm": "#000000",
    "vvenc": "#56B4E9",
    "heic": "#009E73",
    "avif": "#E69F00",
    "jxl": "#CC79A7",
    "jpeg2000": "#882255",
    "webp": "#999933",
    "jpeg": "#777777",
    "fusion": "#D55E00",
    "perco": "#0072B2",
    "hyperprior": "#332288",
    "ours": "#D55E00",
    "ours-ae": "#44AA99",
    "ours-fe": "#AA4499",
    "ours-sketch": "#117733",
}
"""Colours that codecs keep from one experiment to the next."""


def plot_all(
    results: Path | str,
    *,
    overlays: Iterable[str] = (),
    log_rate: bool | None = None,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw every plot of a results folder from its records.csv; no codec runs.

    ``plots/<metric>`` has every label; ``plots/steps-<label>-<metric>`` compares the step counts of a label
    that has several. The same records give the same files, byte for byte.

    Args:
        results: the results folder.
        overlays: names of published curves, drawn dashed where they have the metric; see `load_published`.
        log_rate: whether the rate axis is logarithmic; by default where the rates span a wide range.
        formats: of the files, any of matplotlib's.

    Returns:
        The files written; none for a metric that no image has at every rate.

    Raises:
        RecordsError: there are no usable records.
        InteropError: an overlay does not exist.
        DrawError: the files cannot be written.
    """
    folder = Path(results)
    records = load_records(folder)
    published = [load_published(spec, folder) for spec in overlays]
    return plot_records(records, folder / PLOTS, overlays=published, log_rate=log_rate, formats=formats)


def plot_records(
    records: pd.DataFrame,
    out_dir: Path | str,
    *,
    overlays: Sequence[MeanPoints] = (),
    log_rate: bool | None = None,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw every plot of some records; see `plot_all`."""
    by_label: dict[str, list[CurveData]] = {}
    for data in all_curves(records).values():
        by_label.setdefault(data.label, []).append(data)
    dataset = dataset_name(records)
    main = [data for mine in by_label.values() for data in default_steps(mine)]
    styles = styles_of({data.name: data.label for data in main})
    groups = [("", main, styles, overlays)]
    for label, mine in by_label.items():
        if len({_steps(data) for data in mine}) > 1:
            shades = _shades(mine, styles[default_steps(mine)[0].name])
            groups.append((f"steps-{_slug(label)}-", mine, shades, ()))
    files: list[Path] = []
    for metric in metric_columns(records):
        for prefix, curves, style, published in groups:
            try:
                files += plot_rd(
                    curves,
                    metric,
                    out_dir,
                    overlays=published,
                    name=prefix + metric,
                    styles=style,
                    dataset=dataset,
                    log_rate=log_rate,
                    formats=formats,
                )
            except NothingToDrawError:
                continue
    return files


def plot_rd(
    curves: Sequence[CurveData],
    metric: str,
    out_dir: Path | str,
    *,
    overlays: Sequence[MeanPoints] = (),
    name: str | None = None,
    styles: Mapping[str, Style] | None = None,
    dataset: str = "",
    log_rate: bool | None = None,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw the rate-distortion curves of one metric.

    The curves average the images that all of them have. A curve that has less than half of the images does
    not count for that; the footnote says how many it has. Published curves are dashed, and end where the
    measured rates do.

    Args:
        curves: what was measured.
        metric: the metric.
        out_dir: folder of the files; made if need be.
        overlays: published curves; those that lack the metric are left out.
        name: of the files, without ending; by default the metric.
        styles: curve name → style; by default `styles_of` the curves.
        dataset: named in the footnote; overlays of another one are marked.
        log_rate: whether the rate axis is logarithmic; by default where the rates span a wide range.
        formats: of the files, any of matplotlib's.

    Returns:
        The files written.

    Raises:
        NothingToDrawError: no curve has the metric.
        DrawError: the files cannot be written.
        CurveError: there is no such metric.
    """
    info = metric_info(metric)
    style = dict(styles if styles is not None else styles_of({data.name: data.label for data in curves}))
    measured, notes = measured_curves(curves, metric, dataset)
    if not measured:
        raise NothingToDrawError(f"there is nothing to plot: no image has a finite {metric} at every rate")
    title, names = _title_and_names(curves)
    lines = [
        DrawnCurve(
            names[curve.name],
            curve.bpp,
            curve.quality,
            style[curve.name],
            marked=np.ones(len(curve.bpp), bool),
        )
        for curve in measured
    ]
    low, high = min(line.bpp[0] for line in lines), max(line.bpp[-1] for line in lines)
    for i, source in enumerate(overlays):
        if metric not in source.metrics:
            continue
        style |= published_style(source, style, HOLLOW[i % len(HOLLOW)])
        shown = clipped(source.curve(metric).finite(), low, high, style[source.name])
        if shown is None:
            notes.append(f"{source.name} has no point at these rates")
        else:
            lines.append(replace(shown, name=published_name(source, dataset)))
    if any(line.style.published for line in lines):
        notes.append("dashed: published")
    path = Path(out_dir) / (name or metric)
    return draw(lines, info, notes, path, title=title, log_rate=log_rate, formats=formats)


def styles_of(curves: Mapping[str, str]) -> dict[str, Style]:
    """Return a style for each curve (name → label): the same set of curves has the same styles in every plot.

    Usual codecs keep their colour from one experiment to the next; the others get those left over, by name.
    """
    styles: dict[str, Style] = {}
    free = list(_PALETTE)
    for name in sorted(curves):
        colour = _USUAL.get(curves[name].casefold())
        if colour in free:
            styles[name] = Style(colour, _marker(colour))
            free.remove(colour)
    for i, name in enumerate(sorted(set(curves) - set(styles))):
        again, k = divmod(i - len(free), len(_PALETTE)) if i >= len(free) else (-1, 0)
        colour = free[i] if again < 0 else _PALETTE[-1 - k]
        styles[name] = Style(colour, _marker(colour, again + 1))
    return styles


def _marker(colour: str, again: int = 0) -> str:
    """Return the marker of a colour; a colour that comes again has another one."""
    return _MARKERS[(_PALETTE.index(colour) + again) % len(_MARKERS)]


def published_style(source: MeanPoints, styles: Mapping[str, Style], marker: str) -> dict[str, Style]:
    """Return a published curve's style: the colour of the measured codec of that name, or one left over."""
    same = [style.colour for name, style in styles.items() if name.casefold() == source.label.casefold()]
    used = {style.colour for style in styles.values()}
    usual = _USUAL.get(source.label.casefold(), "")
    free = [colour for colour in (usual, *_PALETTE) if colour and colour not in used]
    return {source.name: Style((same or free or _PALETTE[-1:])[0], marker, published=True)}


def _shades(curves: Sequence[CurveData], base: Style) -> dict[str, Style]:
    """Return shades of one colour, the more steps the darker."""
    counts = sorted({_steps(data) for data in curves})
    shades = {}
    for data in curves:
        place = counts.index(_steps(data))
        pale = 0.6 * (1 - place / max(1, len(counts) - 1))
        channels = (int(base.colour[i : i + 2], 16) for i in (1, 3, 5))
        colour = "#" + "".join(f"{round(c + (255 - c) * pale):02X}" for c in channels)
        shades[data.name] = Style(colour, _MARKERS[place % len(_MARKERS)])
    return shades


def _steps(data: CurveData) -> float:
    """Return a curve's step count, 0 where it has none."""
    return 0.0 if math.isnan(data.steps) else data.steps


def default_steps(curves: Sequence[CurveData]) -> list[CurveData]:
    """Return those curves of a label that have the step count shown among other codecs."""
    counts = {_steps(data) for data in curves}
    shown = min(counts, key=lambda count: (abs(math.log(max(count, 1) / DEFAULT_STEPS)), count))
    return [data for data in curves if _steps(data) == shown]


def measured_curves(curves: Sequence[CurveData], metric: str, dataset: str) -> tuple[list[Curve], list[str]]:
    """Return the curves of a metric, without lossless points, and what the footnote must say of them."""
    complete = {data.name: data.complete_images(metric) for data in curves}
    most = max((len(images) for images in complete.values()), default=0)
    covering = [data for data in curves if len(complete[data.name]) >= max(1, MIN_COVERAGE * most)]
    common = common_images(covering, metric)
    attempted = max((len(data.images) for data in curves), default=0)
    of = f" of {attempted}" if len(common) < attempted else ""
    notes = [f"mean over {len(common)}{of} images" + (f" of {dataset}" if dataset else "")]
    if not common:
        notes = [f"each over its own images{f' of {dataset}' if dataset else ''}: they have none in common"]
    drawn = []
    for data in curves:
        if not complete[data.name]:
            notes.append(f"{data.name}: no image has a value at every rate")
            continue
        images = [image for image in common if image in set(complete[data.name])] or None
        curve = data.curve(metric, images)
        if curve.n_images != len(common):
            notes.append(f"{data.name}: {counted(curve.n_images, 'image')}")
        finite = curve.finite()
        if lost := len(curve.bpp) - len(finite.bpp):
            notes.append(f"{data.name}: {counted(lost, 'lossless point')} not drawn")
        if len(finite.bpp):
            drawn.append(finite)
    return drawn, notes


def clipped(curve: Curve, low: float, high: float, style: Style) -> DrawnCurve | None:
    """Return a published curve within the measured rates: its points, and where it enters and leaves."""
    x = np.log(curve.bpp)
    ends = np.log([max(low, curve.bpp[0]), min(high, curve.bpp[-1])])
    if ends[0] > ends[1]:
        return None
    points = (x >= ends[0]) & (x <= ends[1])
    at = np.unique(np.concatenate([ends, x[points]]))
    return DrawnCurve(curve.name, np.exp(at), np.interp(at, x, curve.quality), style, marked=np.isin(at, x))


def published_name(source: MeanPoints, dataset: str) -> str:
    """Return a published curve's name, with its dataset where that is another one."""
    other = source.dataset if source.dataset.casefold() not in dataset.casefold() else ""
    where = ", ".join(part for part in (source.source, other) if part)
    return f"{source.label} ({where})" if where else source.label


def _title_and_names(curves: Sequence[CurveData]) -> tuple[str, dict[str, str]]:
    """Return what to write beside each line: where all have one label, that is the title instead."""
    labels = {data.label for data in curves}
    if len(curves) == 1 or len(labels) > 1:
        return "", {data.name: data.name for data in curves}
    label = labels.pop()
    return label, {data.name: data.name.removeprefix(f"{label}, ") for data in curves}


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "label"
