"""One rate-distortion plot, drawn to be read at the width of a web page or of a paper's page.

The same input gives the same bytes: no dates, no random identifiers, nothing of the user's own matplotlib
settings.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rdbench.curves import MetricInfo
from rdbench.errors import BenchError
from rdbench.files import write_bytes
from rdbench.labels import Box, Line, Place, margin_lines, margin_width, place_labels
from rdbench.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

FORMATS = ("svg", "png")
_WIDTH, _HEIGHT = 6.0, 4.1
"""Inches. Shown 800 pixels wide, letters of 10 points are 18 pixels."""
_PNG_DPI = 800 / 3
_LAYOUT_DPI = 100.0
_EDGE = 7.0
"""Pixels of the layout left free at the left edge."""
LOG_RATIO = 12
"""A wider range of rates than this is drawn on a logarithmic axis."""
_LARGEST_MARGIN = 0.45
"""Share of the width that names may take; beyond, they are listed below each other in a legend."""
_LEGEND_WIDTH = 40
"""Characters to a line of the legend."""
_DOMINATES = 2.0
"""A curve that alone makes the quality axis this many times longer runs off it."""
_MAX_NAMES = 16
"""More names than this are listed in a legend."""
_LONGEST_NAME = 160
"""Characters of a name or note; there is no room for more."""
_RC = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 10.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "rdbench",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}
_NAME_SIZE = 9.5
_NOTE_SIZE = 7.5


class DrawError(BenchError):
    """The files cannot be written."""


class NothingToDrawError(DrawError):
    """No curve has the metric."""


@dataclass(frozen=True)
class Style:
    """How a curve is drawn: colour (#RRGGBB), marker, and whether it is a published one (dashed, hollow)."""

    colour: str
    marker: str
    published: bool = False


@dataclass(frozen=True)
class DrawnCurve:
    """One line of a plot: its name, bpp and quality, shape (P,), and which of these points have a marker."""

    name: str
    bpp: Floats
    quality: Floats
    style: Style
    marked: npt.NDArray[np.bool_]


def drawn_text(text: str) -> str:
    """Return a name or note as matplotlib draws it: on one line, no formula between dollar signs, bounded."""
    return printable(text, _LONGEST_NAME).replace("$", r"\$")


def draw(
    lines: Sequence[DrawnCurve],
    metric: MetricInfo,
    notes: Sequence[str],
    path: Path,
    *,
    title: str = "",
    log_rate: bool | None = None,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw curves and write one file per format.

    Args:
        lines: the curves; at least one that is not published.
        metric: what the quality axis shows.
        notes: the footnote.
        path: of the files, without ending.
        title: of the plot; none by default, as a caption says more.
        log_rate: whether the rate axis is logarithmic; by default where the rates span more than a factor of
            12.
        formats: any of matplotlib's.

    Raises:
        DrawError: the files cannot be written.
    """
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [replace(line, name=drawn_text(line.name)) for line in lines]
    notes, title = [drawn_text(note) for note in notes], drawn_text(title)
    measured = [line for line in lines if not line.style.published]
    low, high = min(line.bpp[0] for line in measured), max(line.bpp[-1] for line in measured)
    log = low > 0 and (high / low > LOG_RATIO if log_rate is None else log_rate)
    with matplotlib.style.context(["default", _RC]):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_LAYOUT_DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for line in lines:
            _plot(axes, line)
        rate_axis(axes, float(low), float(high), log)
        bottom, top, runs_off = quality_range(lines)
        axes.set_ylim(bottom, top)
        axes.margins(y=0)
        unit = f" ({metric.unit})" if metric.unit else ""
        axes.set_ylabel(f"{metric.title}{unit}   {'↑' if metric.higher_is_better else '↓'} better")
        _footnote(figure, [*notes, *runs_off])
        if title:
            axes.set_title(title, loc="left", fontsize=_NAME_SIZE)
            figure.subplots_adjust(top=0.93)
        _fit_quality_axis(figure, axes)
        _names(figure, axes, lines)
        return [_write(figure, path.with_name(f"{path.name}.{ending}"), ending) for ending in formats]


def _plot(axes: "Axes", line: DrawnCurve) -> None:
    published = line.style.published
    axes.plot(
        line.bpp,
        line.quality,
        color=line.style.colour,
        linestyle=(0, (4, 2)) if published else "-",
        linewidth=1.2 if published else None,
        marker=line.style.marker,
        markerfacecolor="white" if published else line.style.colour,
        markersize=4.0 if published else None,
        markevery=np.flatnonzero(line.marked).tolist(),
        zorder=2.5 if published else 3,
    )


def rate_axis(axes: "Axes", low: float, high: float, log: bool) -> None:
    """Lay out the axis of rates from `low` to `high`, in bits per pixel."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if not log:
        room = 0.03 * (high - low) or 0.05 * high
        axes.set_xlim(max(0.0, low - 2 * room), high + room)
        axes.set_xlabel("Rate (bits per pixel)")
        return
    room = (high / low) ** 0.03
    axes.set_xscale("log")
    axes.set_xlim(low / room**1.5, high * room)
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    axes.xaxis.set_major_locator(FixedLocator([m * 10.0**d for d in decades for m in (1, 2, 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("Rate (bits per pixel, logarithmic)")


def quality_range(lines: Sequence[DrawnCurve]) -> tuple[float, float, list[str]]:
    """Return the limits of the quality axis, and which curves run off it.

    One measured curve that makes the axis much longer than all the others need would flatten these; published
    ones may lengthen it by half.
    """
    spans = [(float(c.quality.min()), float(c.quality.max())) for c in lines if not c.style.published]
    low, high = min(a for a, _ in spans), max(b for _, b in spans)
    runs_off = []
    if len(spans) > 2:
        measured = [c for c in lines if not c.style.published]
        for i, curve in enumerate(measured):
            rest = spans[:i] + spans[i + 1 :]
            rest_low, rest_high = min(a for a, _ in rest), max(b for _, b in rest)
            room = 0.2 * (rest_high - rest_low)
            if high - low > _DOMINATES * (rest_high - rest_low) and rest_high > rest_low:
                low, high = max(low, rest_low - room), min(high, rest_high + room)
                runs_off.append(f"{curve.name} runs off the axis")
                break
    reach = 0.5 * (high - low)
    for c in lines:
        if c.style.published:
            low = min(low, max(float(c.quality.min()), low - reach))
            high = max(high, min(float(c.quality.max()), high + reach))
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room, runs_off


def _footnote(figure: "Figure", notes: Sequence[str]) -> None:
    text = "; ".join(notes)
    wrapped = textwrap.wrap(text[:1].upper() + text[1:] + ".", 105)
    figure.subplots_adjust(left=0.115, right=0.98, top=0.97, bottom=0.155 + 0.033 * len(wrapped))
    figure.text(0.02, 0.02, "\n".join(wrapped), fontsize=_NOTE_SIZE, color="#555555", va="bottom", linespacing=1.25)


def _fit_quality_axis(figure: "Figure", axes: "Axes") -> None:
    """Move the axes to the right where the tick labels are long ("0.975"), or the axis title is cut off."""
    extent = axes.yaxis.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    missing = _EDGE - extent.x0 if extent is not None else 0.0
    if missing > 0:
        figure.subplots_adjust(left=figure.subplotpars.left + missing / figure.bbox.width)


def _names(figure: "Figure", axes: "Axes", lines: Sequence[DrawnCurve]) -> None:
    """Write each curve's name beside its line, or all of them in a legend if there is no room."""
    shown = [line for line in lines if _visible(axes, line) is not None]
    sizes = _sizes(figure, shown)
    margin: set[int] = set()
    for _ in range(len(shown) + 1 if len(shown) <= _MAX_NAMES else 0):
        laid_out, box = _laid_out(axes, shown, sizes)
        # a narrower axes may send further names into the margin
        while new := margin_lines(laid_out, box) - margin:
            margin |= new
            if not _leave_margin(figure, max(12, margin_width(laid_out, margin))):
                return _legend(figure, axes, lines)
            laid_out, box = _laid_out(axes, shown, sizes)
        places = place_labels(laid_out, box, margin)
        homeless = set(range(len(shown))) - set(places)
        if not homeless:
            for i, line in enumerate(shown):
                _write_name(figure, line, places[i])
            return None
        if homeless <= margin:
            break
        margin |= homeless
        if not _leave_margin(figure, margin_width(laid_out, margin)):
            break
    return _legend(figure, axes, lines)


def _leave_margin(figure: "Figure", width: float) -> bool:
    """Leave so many pixels free right of the axes; say whether the axes still have room to be read."""
    share = width / figure.bbox.width
    if share > _LARGEST_MARGIN:
        return False
    figure.subplots_adjust(right=1 - share)
    return True


def _laid_out(
    axes: "Axes", lines: Sequence[DrawnCurve], sizes: Sequence[tuple[float, float]]
) -> tuple[list[Line], Box]:
    """Return the lines as they lie in the figure, and the box of the axes."""
    paths = [_visible(axes, line) for line in lines]
    laid_out = [Line(path, *size) for path, size in zip(paths, sizes, strict=True) if path is not None]
    return laid_out, (axes.bbox.x0, axes.bbox.y0, axes.bbox.x1, axes.bbox.y1)


def _visible(axes: "Axes", line: DrawnCurve) -> Floats | None:
    """Return the part of a line inside the axes, in pixels, shape (P, 2); the longest where there are several."""
    path = axes.transData.transform(np.column_stack([line.bpp, line.quality]))
    steps = np.linspace(0, len(path) - 1, 64 * max(1, len(path) - 1) + 1)
    dense = np.column_stack([np.interp(steps, np.arange(len(path)), path[:, i]) for i in (0, 1)])
    box = axes.bbox
    inside = (
        (dense[:, 0] >= box.x0 - 1)
        & (dense[:, 0] <= box.x1 + 1)
        & (dense[:, 1] >= box.y0 - 1)
        & (dense[:, 1] <= box.y1 + 1)
    )
    runs = np.split(np.arange(len(dense)), np.flatnonzero(np.diff(inside.astype(int))) + 1)
    runs = [run for run in runs if inside[run[0]]]
    return dense[max(runs, key=len)] if runs else None


def _sizes(figure: "Figure", lines: Sequence[DrawnCurve]) -> list[tuple[float, float]]:
    """Return width and height of each name, in pixels."""
    sizes = []
    for line in lines:
        text = figure.text(0, 0, line.name, **_text_style(line))
        extent = text.get_window_extent()
        sizes.append((extent.width, extent.height))
        text.remove()
    return sizes


def _text_style(line: DrawnCurve) -> dict[str, Any]:
    colour = [int(line.style.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    # letters are thin: dark enough for a contrast of 4.5 with white (WCAG 2.1)
    while luminance(colour) > 0.18:
        colour = [0.95 * channel for channel in colour]
    return {
        "fontsize": _NAME_SIZE,
        "color": colour,
        "fontstyle": "italic" if line.style.published else "normal",
    }


def luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _write_name(figure: "Figure", line: DrawnCurve, place: Place) -> None:
    from matplotlib.lines import Line2D

    style = _text_style(line)
    width, height = figure.bbox.width, figure.bbox.height
    text = figure.text(place.x / width, place.y / height, line.name, va="center_baseline", **style)
    if place.leader is not None:
        x, y = place.leader
        box = text.get_window_extent()
        # to the nearest point of the name's box
        to = min(max(x, box.x0 - 3), box.x1 + 3), min(max(y, box.y0), box.y1)
        ends = [x / width, to[0] / width], [y / height, to[1] / height]
        figure.add_artist(Line2D(*ends, color=style["color"], linewidth=0.6, alpha=0.7))


def _legend(figure: "Figure", axes: "Axes", lines: Sequence[DrawnCurve]) -> None:
    """List the names right of the axes, in the order in which the lines end."""
    handles = axes.get_lines()
    order = sorted(range(len(lines)), key=lambda i: -float(lines[i].quality[-1]))
    legend = figure.legend(
        [handles[i] for i in order],
        [textwrap.fill(lines[i].name, _LEGEND_WIDTH) for i in order],
        loc="upper right",
        bbox_to_anchor=(0.995, 0.98),
        frameon=False,
        fontsize=min(_NAME_SIZE, 9.5 * 20 / max(20, len(lines))),
        handlelength=2.2,
        borderpad=0,
    )
    width = legend.get_window_extent().width
    figure.subplots_adjust(right=1 - (width + 12) / figure.bbox.width)


def _write(figure: "Figure", file: Path, ending: str) -> Path:
    buffer = io.BytesIO()
    if ending == "png":
        _write_png(figure, buffer)
    else:
        metadata = {"Date": None, "Creator": "rdbench"} if ending == "svg" else None
        figure.savefig(buffer, format=ending, metadata=metadata)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, buffer.getvalue())
    except OSError as error:
        raise DrawError(f"cannot write '{file}': {error.strerror or error}") from error
    return file


def _write_png(figure: "Figure", buffer: io.BytesIO) -> None:
    """Write the figure with 256 colours: a third of the bytes, and plots are committed."""
    from PIL import Image

    pixels = io.BytesIO()
    figure.savefig(pixels, format="rgba", dpi=_PNG_DPI)
    width = round(_WIDTH * _PNG_DPI)
    size = width, len(pixels.getvalue()) // (4 * width)
    picture = Image.frombytes("RGBA", size, pixels.getvalue()).convert("RGB")
    few = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(buffer, "PNG")
