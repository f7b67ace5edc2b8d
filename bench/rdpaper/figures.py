"""What each of the paper's figures shows, and one more: decode time against quality."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rdbench.curves import CurveData, MetricInfo, common_images
from rdbench.drawing import DrawnCurve, NothingToDrawError, Style
from rdbench.errors import BenchError
from rdbench.plots import DEFAULT_STEPS, measured_curves
from rdpaper.claims import STEPS
from rdpaper.curves import AbsentError, PaperCurves
from rdpaper.drawing import FORMATS, TimeLine, draw_rd, draw_times

# Okabe and Ito's colours, made to be told apart with any common colour vision deficiency
Floats = npt.NDArray[np.float64]

_LOOKS: dict[str | int, tuple[str, Style]] = {
    "ours": ("Ours", Style("#D55E00", "D")),
    "additive": ("Ours-AE", Style("#009E73", "o")),
    "unrenormalized": ("Ours-FE", Style("#0072B2", "^")),
    "perco": ("PerCo", Style("#0072B2", "o")),
    "vtm": ("VVC (VTM)", Style("#000000", "s")),
    "vvenc": ("VVC (vvenc)", Style("#56B4E9", "^")),
    **{
        count: (f"{count} steps", Style(colour, marker))
        for count, colour, marker in zip(STEPS, ("#56B4E9", "#D55E00", "#009E73", "#000000"), "oD^x", strict=True)
    },
}
"""Name and style of each part, and of each step count of our codec."""
_RATE_STYLES = (
    *(Style("#000000", "s"), Style("#0072B2", "o"), Style("#009E73", "^"), Style("#D55E00", "D")),
    *(Style("#E69F00", "v"), Style("#CC79A7", "P")),
)
"""Of the lines of the figure over decode time, which are bitstream rates."""


@dataclass(frozen=True)
class RDFigure:
    """A rate-distortion figure: what it compares (parts, or step counts of our codec) and by which metric."""

    name: str
    number: str
    metric: str
    caption: str
    shown: tuple[str | int, ...]


_ALL = ("ours", "perco", "vtm", "vvenc")
_BY_STEPS = "{metric} of ours by number of denoising steps, and below its difference to that of 10 steps"
_RD_FIGURES = (
    RDFigure("fig1-psnr", "1a", "psnr", "PSNR of VVC, PerCo and ours", _ALL),
    RDFigure("fig1-ms-ssim", "1b", "ms_ssim", "MS-SSIM of VVC, PerCo and ours", _ALL),
    RDFigure("fig1-lpips", "1c", "lpips", "{metric} of VVC, PerCo and ours (not in the paper)", _ALL),
    RDFigure(
        "fig2-ablation",
        "2",
        "lpips",
        "{metric} of ours with additive fusion (Ours-AE) and without fidelity enhancement (Ours-FE)",
        ("ours", "additive", "unrenormalized"),
    ),
    RDFigure("fig3-lpips", "3a", "lpips", _BY_STEPS, STEPS),
    RDFigure("fig3-psnr", "3b", "psnr", _BY_STEPS, STEPS),
)
_TIME_FIGURE = "fig4-time"
_TIME_CAPTION = (
    "Decode time against quality of ours (not in the paper): a line is one set of bitstreams, a marker a number of "
    "denoising steps (10, the default, at the vertical line); times are medians over images and rates"
)


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn, or the reason why not.

    Attributes:
        name: of the files, without ending.
        number: as the paper counts them, with its letter.
        caption: one sentence or two, without a full stop.
        files: what was written; empty where there is nothing to draw.
        notes: images averaged, parts that are missing, and why nothing was drawn.
    """

    name: str
    number: str
    caption: str
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def draw_figures(paper: PaperCurves, folder: Path, formats: Sequence[str] = FORMATS) -> list[Drawn]:
    """Draw every figure of which there is something; files of those that there is nothing of any more are removed.

    Args:
        paper: the measured curves.
        folder: of the files; made if need be.
        formats: of `FORMATS`.

    Raises:
        DrawError: the files cannot be written.
    """
    drawn = [_rd_figure(figure, paper, folder, formats) for figure in _RD_FIGURES]
    drawn.append(_time_figure(paper, folder, formats))
    written = {file for figure in drawn for file in figure.files}
    for figure in drawn:
        for ending in FORMATS:
            if (file := folder / f"{figure.name}.{ending}") not in written:
                file.unlink(missing_ok=True)
    return drawn


def _rd_figure(figure: RDFigure, paper: PaperCurves, folder: Path, formats: Sequence[str]) -> Drawn:
    caption = figure.caption
    curves: dict[str, CurveData] = {}
    styles: dict[str, Style] = {}
    notes: list[str] = []
    try:
        metric = paper.metric(figure.metric)
    except AbsentError as error:
        return Drawn(figure.name, figure.number, caption.format(metric="LPIPS"), (), (str(error),))
    caption = caption.format(metric=metric.title)
    for part in figure.shown:
        try:
            data = paper.ours(part) if isinstance(part, int) else paper.play(part)
        except BenchError as error:
            notes.append(str(error))
        else:
            name, style = _LOOKS[part]
            curves[name], styles[name] = data, style
    measured, found = measured_curves(list(curves.values()), metric.name, paper.dataset)
    by_curve = {curve.name: curve for curve in measured}
    lines = [
        DrawnCurve(name, curve.bpp, curve.quality, styles[name], np.ones(len(curve.bpp), bool))
        for name, data in curves.items()
        if (curve := by_curve.get(data.name))
    ]
    if not lines:
        return Drawn(figure.name, figure.number, caption, (), tuple(dict.fromkeys([*notes, *found[1:]])))
    focus = [_LOOKS[part][0] for part in figure.shown if part not in ("vtm", "vvenc")]
    path = folder / figure.name
    files = draw_rd(lines, metric, path, focus=focus, reference=_LOOKS[STEPS[1]][0], formats=formats)
    return Drawn(figure.name, figure.number, caption, tuple(files), tuple(dict.fromkeys([*found, *notes])))


def _time_figure(paper: PaperCurves, folder: Path, formats: Sequence[str]) -> Drawn:
    notes: list[str] = []
    curves: list[CurveData] = []
    for count in STEPS:
        try:
            curves.append(paper.ours(count))
        except BenchError as error:
            notes.append(str(error))
    panels: list[tuple[MetricInfo, list[TimeLine]]] = []
    try:
        seconds = _seconds(curves)
        for name in ("psnr", "lpips"):
            metric = paper.metric(name)
            lines, images = _time_lines(curves, metric.name)
            panels.insert(0, (metric, lines))
            notes.append(f"{metric.title}: mean over {images} images")
    except BenchError as error:
        notes.append(str(error))
    if not panels:
        return Drawn(_TIME_FIGURE, "4", _TIME_CAPTION, (), tuple(dict.fromkeys(notes)))
    steps = [int(data.steps) for data in curves]
    path = folder / _TIME_FIGURE
    files = draw_times(steps, seconds, panels, path, marked=int(DEFAULT_STEPS), formats=formats)
    return Drawn(_TIME_FIGURE, "4", _TIME_CAPTION, tuple(files), tuple(notes))


def _seconds(curves: Sequence[CurveData]) -> Floats:
    """Return the median decode time of each curve.

    Raises:
        NothingToDrawError: a time is not known, or there are not two to compare.
    """
    if len(curves) < 2:
        raise NothingToDrawError("it takes two step counts")
    unknown = [data.name for data in curves if not np.isfinite(data.decode_s).any()]
    if unknown:
        raise NothingToDrawError(f"the decode time of {'; '.join(unknown)} is not known")
    return np.array([np.nanmedian(data.decode_s) for data in curves])


def _time_lines(curves: Sequence[CurveData], metric: str) -> tuple[list[TimeLine], int]:
    """Return the quality of each rate by step count, and over how many images: those that have it everywhere.

    Raises:
        NothingToDrawError: there are no such images, or no such rates.
    """
    images = common_images(curves, metric)
    points = []
    for data in curves if images else ():
        curve = data.curve(metric, images).finite()
        values = zip(curve.bpp.tolist(), curve.quality.tolist(), strict=True)
        points.append(dict(zip(curve.rates.tolist(), values, strict=True)))
    shared = [rate for rate in (points[0] if points else ()) if all(rate in mine for mine in points)]
    if not shared:
        raise NothingToDrawError(f"the step counts have no image and rate with {metric} in common")
    few = np.unique(np.linspace(0, len(shared) - 1, len(_RATE_STYLES)).round().astype(int))
    lines = [
        TimeLine(f"{points[0][shared[i]][0]:#.2g}", np.array([mine[shared[i]][1] for mine in points]), style)
        for i, style in zip(few, _RATE_STYLES, strict=False)
    ]
    return lines, len(images)
