"""rdbench compare: one codec, or several, held against another."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rdbench.bd_text import format_figure, format_interval
from rdbench.commands import table_console
from rdbench.errors import BenchError
from rdbench.messages import say
from rdbench.text import printable

if TYPE_CHECKING:
    from rdbench.bounds import Bound
    from rdbench.commands import Commands
    from rdbench.compare import Comparison
    from rdbench.curves import CurveSource

_WIDTH = 200
"""Least width of a table, in characters."""


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="BD-rate and BD-quality of codecs against another",
        description="Compare curves with an anchor by every metric both have, on the images both have. A curve is a "
        "label of --results, FOLDER:LABEL for another results folder, a CompressAI results JSON, or "
        "published/SOURCE/CURVE. docs/statistics.md explains the figures.",
    )
    parser.add_argument("base", metavar="ANCHOR", help="what is compared against")
    parser.add_argument("new", metavar="NEW", nargs="+", help="what is compared; several make one table per metric")
    parser.add_argument("--results", type=Path, default=Path("results/quick"), help="default: results/quick")
    parser.add_argument("--metric", action="append", help="only this metric; may be repeated")
    parser.add_argument("--method", choices=("pchip", "akima", "cubic"), default="pchip")
    parser.add_argument(
        "--worst",
        type=int,
        default=0,
        metavar="N",
        help="also name the N images on which NEW does worst, by each metric",
    )
    parser.add_argument(
        "--at",
        type=float,
        action="append",
        default=[],
        metavar="BPP",
        help="also read both qualities off the curves at this rate; may be repeated",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="BOUND",
        help="exit with status 3 if this is true or cannot be told, e.g. 'bd_rate(st_lpips_alex) > 2', 'failed > 0', "
        "'overlap(psnr) < 0.9', 'losses(psnr) > 4'; may be repeated",
    )
    parser.add_argument(
        "--min-overlap",
        type=_share,
        metavar="SHARE",
        help="bounds on BD figures of curves that share less of their range cannot be told (default: 0.5)",
    )
    parser.add_argument(
        "--min-coverage",
        type=_share,
        metavar="SHARE",
        help="bounds on fewer of the planned images or cells cannot be told (default: 1, that is all of them)",
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, e.g. for a pull request")
    parser.set_defaults(execute=execute)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value


@dataclass(frozen=True)
class _Section:
    """A table and its title."""

    title: str
    rows: Sequence[dict[str, str]]


def execute(options: argparse.Namespace) -> int:
    """Compare; 3 where a bound is broken or cannot be told, 1 where there is not one figure."""
    from rdbench.bounds import Accepted, Bound
    from rdbench.sources import find_curve

    bounds = [Bound.parse(text) for text in options.fail_if]
    names = [options.base, *options.new]
    sources = _told_apart(names, [find_curve(name, options.results) for name in names])
    asked = {"overlap": options.min_overlap, "coverage": options.min_coverage}
    accepted = Accepted(**{name: value for name, value in asked.items() if value is not None})
    try:
        by_curve = _compare_all(sources, bounds, options)
    except BenchError as error:
        if not bounds:
            raise
        failures = [f"failed: {bound.text}: cannot be told: {error}" for bound in bounds]
        _show([], [], [], failures, markdown=options.markdown)
        return 3
    comparisons = [comparison for mine in by_curve for comparison in mine]
    failures = [f"failed: {line}" for bound in bounds for line in bound.failures(comparisons, accepted)]
    warnings = list(dict.fromkeys(comparison.mismatch for comparison in comparisons if comparison.mismatch))
    sections = _sections(by_curve)
    remarks = [line for mine in by_curve for line in _remarks(mine, options.worst, name_curve=len(by_curve) > 1)]
    _show(sections, warnings, remarks, failures, markdown=options.markdown)
    if failures:
        return 3
    return 0 if any(comparison.bd_rate or comparison.bd_quality for comparison in comparisons) else 1


def _told_apart(names: Sequence[str], sources: Sequence["CurveSource"]) -> list["CurveSource"]:
    """Return the curves with names that differ: those of one name are called as on the command line."""
    from rdbench.curves import CurveData
    from rdbench.interop.compressai import MeanPoints

    found = [source.name for source in sources]
    told: list[CurveSource] = []
    for name, source in zip(names, sources, strict=True):
        if found.count(source.name) == 1:
            told.append(source)
        elif isinstance(source, CurveData):
            told.append(replace(source, name=name))
        elif isinstance(source, MeanPoints):
            told.append(replace(source, label=name, source=""))
    return told


def _compare_all(
    sources: Sequence["CurveSource"], bounds: Sequence["Bound"], options: argparse.Namespace
) -> list[list["Comparison"]]:
    """Return the comparisons of each curve with the first, by the metrics asked for and those of the bounds."""
    from rdbench.compare import compare_curves

    base, *news = sources
    by_curve = []
    for new in news:
        metrics = options.metric or [name for name in base.metrics if name in new.metrics]
        wanted = dict.fromkeys([*metrics, *(bound.metric for bound in bounds if bound.metric)])
        chosen = list(wanted) or None
        by_curve.append(compare_curves(base, new, chosen, method=options.method, at=options.at))
    return by_curve


def _sections(by_curve: Sequence[Sequence["Comparison"]]) -> list[_Section]:
    """Return the tables: of one curve, one row per metric; of several, one table per metric with one row per curve."""
    from rdbench.stats import holm

    if len(by_curve) == 1:
        mine = by_curve[0]
        images = f", {mine[0].n_images} images" if mine[0].n_images else ""
        rows = [_row(comparison, "metric", _metric(comparison.metric), comparison.sign_p) for comparison in mine]
        return [_Section(f"{mine[0].new} against {mine[0].base}{images}", _filled(rows))]
    sections = []
    for metric in dict.fromkeys(comparison.metric for mine in by_curve for comparison in mine):
        shown = [comparison for mine in by_curve for comparison in mine if comparison.metric == metric]
        corrected = holm([comparison.sign_p for comparison in shown])
        rows = []
        for comparison, p in zip(shown, corrected, strict=True):
            row = _row(comparison, "curve", comparison.new, p)
            row["images"] = str(comparison.n_images or "")
            row["encode"] = _ratio(comparison.encode_ratio)
            row["decode"] = _ratio(comparison.decode_ratio)
            rows.append(row)
        sections.append(_Section(f"{_metric(metric)} against {shown[0].base}", _filled(rows)))
    return sections


def _row(comparison: "Comparison", first: str, name: str, p: float) -> dict[str, str]:
    """Return a comparison's figures by column."""
    rate, quality, own = comparison.bd_rate, comparison.bd_quality, comparison.bd_rate_images
    decided = comparison.wins + comparison.losses
    return {
        first: name,
        "BD-rate": format_figure(rate, ".2f", " %"),
        "95 % CI": format_interval(rate, ".2f"),
        "by image": format_figure(own, ".2f", " %") if own.n_images else "",
        "95 % CI ": format_interval(own, ".2f"),
        "of": f"{own.n_images}/{own.of}" if own.n_images else "",
        "BD-quality": format_figure(quality, ".3g", ""),
        "95 % CI  ": format_interval(quality, ".3g"),
        "overlap": f"{rate.overlap:.0%}" if rate else "",
        "won/lost": f"{comparison.wins}/{comparison.losses}" if decided else "",
        "sign test": "" if math.isnan(p) else f"p {p:.2g}",
    }


def _filled(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows without the columns in which nothing is known."""
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    return [{name: row[name] for name in columns} for row in rows]


def _metric(name: str) -> str:
    from rdbench.curves import metric_info

    info = metric_info(name)
    unit = f" ({info.unit})" if info.unit else ""
    return f"{info.title}{unit} {'↑' if info.higher_is_better else '↓'}"


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}\u00d7"


def _show(
    sections: Sequence[_Section],
    warnings: Sequence[str],
    remarks: Sequence[str],
    failures: Sequence[str],
    *,
    markdown: bool,
) -> None:
    """Print for a terminal, or as GitHub's Markdown shows it."""
    if markdown:
        for section in sections:
            _print_markdown_table(section)
        print("\n".join([*(f"- **{_escaped(line)}**" for line in failures), *_listed([*warnings, *remarks])]))
        return
    console = table_console(_WIDTH)
    for section in sections:
        _print_table(console, section)
    for lines, style in ((warnings, "yellow"), (remarks, None), (failures, "red")):
        for line in lines:
            say(console, line, style)


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {_escaped(line)}" for line in lines]


def _print_table(console: Console, section: _Section) -> None:
    table = Table(box=None, header_style="bold")
    for i, name in enumerate(section.rows[0]):
        table.add_column(name.strip(), justify="right" if i else "left", no_wrap=True)
    for row in section.rows:
        table.add_row(*map(printable, row.values()))
    say(console, section.title, "bold")
    console.print(table)


def _print_markdown_table(section: _Section) -> None:
    lines = [f"**{_escaped(section.title)}**", ""]
    lines.append("| " + " | ".join(name.strip() for name in section.rows[0]) + " |")
    lines.append("|" + "|".join("--:" if i else ":--" for i in range(len(section.rows[0]))) + "|")
    lines += ["| " + " | ".join(map(_escaped, row.values())) + " |" for row in section.rows]
    print("\n".join([*lines, ""]))


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|~" else char for char in printable(text, None))


def _remarks(comparisons: Sequence["Comparison"], worst: int, *, name_curve: bool) -> list[str]:
    first = comparisons[0]
    lines = []
    if not name_curve:  # of several curves the tables have the times
        lines = [
            f"{what} time: {ratio:.3g} times that of {first.base}"
            for what, ratio in (("encode", first.encode_ratio), ("decode", first.decode_ratio))
            if not math.isnan(ratio)
        ]
    for comparison in comparisons:
        images = ", ".join(f"{image} {_percent(value)}" for image, value in comparison.worst(worst))
        if images:
            lines.append(f"{comparison.metric}, worst images by BD-rate: {images}")
        for bpp, (before, now) in comparison.at.items():
            lines.append(
                f"{comparison.metric} at {bpp:g} bpp: {now:.4g}, {comparison.base} {before:.4g} ({now - before:+.3g})"
            )
    by_note: dict[str, list[str]] = {}
    for comparison in comparisons:
        for note in comparison.notes:
            by_note.setdefault(note, []).append(comparison.metric)
    lines += [f"{', '.join(metrics)}: {note}" for note, metrics in by_note.items()]
    return [f"{first.new}: {line}" for line in lines] if name_curve else lines


def _percent(value: float) -> str:
    if math.isinf(value):
        return f"{'worse' if value > 0 else 'better'} at every rate"
    return f"{value:+.1f} %"
