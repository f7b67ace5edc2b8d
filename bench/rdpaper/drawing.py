"""Figures as a paper prints them: one column wide, readable at 8 points, told apart without colour.

The same input gives the same bytes: no dates, no random identifiers, nothing of the user's own matplotlib settings.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rdbench.curves import MetricInfo
from rdbench.drawing import LOG_RATIO, DrawError, DrawnCurve, Style, drawn_text, rate_axis
from rdbench.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

FORMATS = ("svg", "pdf", "png")
WIDTH = 3.4
"""Inches: a column of a two-column paper."""
_RD_HEIGHT, _DIFFERENCE_HEIGHT, _PANEL_HEIGHT = 2.45, 1.1, 1.75
"""Inches."""
_PNG_DPI = 300
_RC = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelpad": 2.5,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
    "font.family": ["STIXGeneral"],
    "font.size": 8.0,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.5,
    "legend.borderaxespad": 0.4,
    "legend.borderpad": 0.3,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.fontsize": 8.0,
    "legend.framealpha": 0.85,
    "legend.handlelength": 2.4,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.2,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "rdbench",
    "xtick.labelsize": 8.0,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 8.0,
    "ytick.major.width": 0.6,
}
_METADATA = {
    "svg": {"Date": None, "Creator": "rdbench"},
    "pdf": {"CreationDate": None, "Creator": "rdbench", "Producer": "rdbench"},
    "png": {"Software": None},
}
_DASHES: dict[str, Any] = {
    "D": "-",
    "s": "-",
    "x": "-",
    "P": "-",
    "^": (0, (5, 1.5)),
    "o": (0, (1.2, 1.2)),
    "v": (0, (4, 1.2, 1, 1.2)),
}
"""Line styles by marker: in grey, lines are told apart by either."""
_HOLLOW = ("^", "o", "v")


@dataclass(frozen=True)
class TimeLine:
    """One line of a plot over decode time: its name, quality by step count, shape (S,), and style."""

    name: str
    quality: Floats
    style: Style


def draw_rd(
    lines: Sequence[DrawnCurve],
    metric: MetricInfo,
    path: Path,
    *,
    focus: Sequence[str] = (),
    reference: str = "",
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw rate-distortion curves and write one file per format.

    Args:
        lines: the curves; at least one.
        metric: what the quality axis shows.
        path: of the files, without ending.
        focus: names of the curves whose rates set the range of the rate axis; the others run off it. By default,
            and where none of them is there, all of them.
        reference: name of a curve; those at the same rates are drawn once more below, less this one.
        formats: of the files, of `FORMATS`.

    Raises:
        DrawError: the files cannot be written.
    """
    from matplotlib.ticker import MaxNLocator

    wanted = [line for line in lines if line.name in focus] or lines
    low, high = (float(f(f(line.bpp) for line in wanted)) for f in (min, max))
    log = low > 0 and high / low > LOG_RATIO
    differences = _differences(lines, reference)
    with _figure(_RD_HEIGHT + (_DIFFERENCE_HEIGHT if differences else 0)) as figure:
        heights = [_RD_HEIGHT, _DIFFERENCE_HEIGHT][: 2 if differences else 1]
        rows = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, shown in zip(rows, (lines, differences), strict=False):
            for line in shown:
                _plot(axes, line.bpp, line.quality, line.style, line.name)
        rate_axis(rows[-1], low, high, log)
        rows[0].set_xlabel("")
        if not log:
            rows[-1].xaxis.set_major_locator(MaxNLocator(6))
        rows[-1].set_xlabel("Bits per pixel (logarithmic)" if log else "Bits per pixel")
        rows[0].set_ylim(*_visible_range(lines, rows[0].get_xlim()))
        rows[0].set_ylabel(quality_title(metric))
        rows[0].legend(loc="best")
        if differences:
            unit = f" ({metric.unit})" if metric.unit else ""
            rows[1].set_ylabel(f"Δ to {reference}{unit}")
            figure.align_ylabels(rows)
        return _write(figure, path, formats)


def _differences(lines: Sequence[DrawnCurve], reference: str) -> list[DrawnCurve]:
    """Return the curves at the rates of the reference, less its quality; none where there is only the reference."""
    base = next((line for line in lines if line.name == reference), None)
    if base is None:
        return []
    same = [line for line in lines if line.bpp.shape == base.bpp.shape and np.allclose(line.bpp, base.bpp, rtol=1e-4)]
    return [replace(line, quality=line.quality - base.quality) for line in same] if len(same) > 1 else []


def draw_times(
    steps: Sequence[int],
    seconds: Floats,
    panels: Sequence[tuple[MetricInfo, Sequence[TimeLine]]],
    path: Path,
    *,
    marked: int,
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Draw quality against decode time, one panel below the other and one line per rate, and write one file per format.

    Args:
        steps: the S step counts, ascending.
        seconds: decode time of each, shape (S,).
        panels: a metric and its lines, for each panel.
        path: of the files, without ending.
        marked: the step count that is marked by a vertical line.
        formats: of the files, of `FORMATS`.

    Raises:
        DrawError: the files cannot be written.
    """
    with _figure(0.4 + _PANEL_HEIGHT * len(panels)) as figure:
        rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, (metric, lines) in zip(rows, panels, strict=True):
            for line in lines:
                _plot(axes, seconds, line.quality, line.style, line.name)
            if marked in steps:
                axes.axvline(seconds[list(steps).index(marked)], color="#666666", linewidth=0.8, zorder=1.5)
            axes.set_ylabel(quality_title(metric))
        figure.align_ylabels(rows)
        _time_axis(rows[0], rows[-1], steps, seconds)
        names = figure.legend(
            *rows[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title="Bits per pixel"
        )
        names.get_title().set_fontsize(8.0)
        return _write(figure, path, formats)


def quality_title(metric: MetricInfo) -> str:
    """Return a quality axis' title: "PSNR (dB) ↑"."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.title}{unit} {'↑' if metric.higher_is_better else '↓'}"


@contextmanager
def _figure(height: float) -> Iterator["Figure"]:
    """Give an empty figure, drawn and written with these settings and no others."""
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", _RC]):
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        yield figure


def _plot(axes: "Axes", x: Floats, y: Floats, style: Style, name: str) -> None:
    axes.plot(
        x,
        y,
        label=drawn_text(name),
        color=style.colour,
        linestyle=_DASHES[style.marker],
        marker=style.marker,
        markeredgewidth=0.9,
        markerfacecolor="white" if style.marker in _HOLLOW else style.colour,
        zorder=3,
    )


def _visible_range(lines: Sequence[DrawnCurve], limits: tuple[float, float]) -> tuple[float, float]:
    """Return the limits of the quality axis: what of the lines is between these rates, and some room."""
    seen = []
    for line in lines:
        at = np.clip(np.concatenate([limits, line.bpp]), max(line.bpp[0], limits[0]), min(line.bpp[-1], limits[1]))
        if line.bpp[0] <= limits[1] and line.bpp[-1] >= limits[0]:
            seen.append(np.interp(at, line.bpp, line.quality))
    low, high = float(np.concatenate(seen).min()), float(np.concatenate(seen).max())
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _time_axis(top: "Axes", bottom: "Axes", steps: Sequence[int], seconds: Floats) -> None:
    """Show seconds below the panels, and above them which step count takes how long."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    bottom.set_xscale("log")
    room = (seconds[-1] / seconds[0]) ** 0.06 if seconds[-1] > seconds[0] else 1.5
    bottom.set_xlim(seconds[0] / room, seconds[-1] * room)
    bottom.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bottom.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bottom.xaxis.set_minor_formatter(NullFormatter())
    bottom.set_xlabel("Decode time (s, logarithmic)")
    above = top.secondary_xaxis("top")
    above.set_xticks(seconds, [str(count) for count in steps])
    above.minorticks_off()
    above.set_xlabel("Denoising steps")


def _write(figure: "Figure", path: Path, formats: Sequence[str]) -> list[Path]:
    files = []
    for ending in formats:
        file = path.with_name(f"{path.name}.{ending}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=_PNG_DPI, metadata=_METADATA[ending])
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(file, buffer.getvalue())
        except OSError as error:
            raise DrawError(f"cannot write '{file}': {error.strerror or error}") from error
        files.append(file)
    return files
