"""rdbench compare: one codec held against another."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rdbench.bd_text import format_figure, format_interval
from rdbench.commands import TABLE_WIDTH
from rdbench.errors import BenchError
from rdbench.text import printable

if TYPE_CHECKING:
    from rdbench.commands import Commands
    from rdbench.compare import Comparison
    from rdbench.curves import CurveSource


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="BD-rate and BD-quality of one codec against another",
        description="Compare two curves by every metric both have, on the images both have. A curve is a label of "
        "--results, FOLDER:LABEL for another results folder, a CompressAI results JSON, or published/SOURCE/CURVE.",
    )
    parser.add_argument("base", help="what is compared against")
    parser.add_argument("new", help="what is compared")
    parser.add_argument("--results", type=Path, default=Path("results/quick"), help="default: results/quick")
    parser.add_argument("--metric", action="append", help="only this metric; may be given again")
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
        help="also read both qualities off the curves at this rate; may be given again",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="BOUND",
        help="exit with 3 where this is true, e.g. 'bd_rate(st_lpips_alex) > 2'",
    )
    parser.add_argument("--markdown", action="store_true", help="print Markdown, e.g. for a pull request")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Compare; 3 where a bound is broken, 1 where there is not one figure."""
    from rdbench.compare import Bound, compare_curves

    bounds = [Bound.parse(text) for text in options.fail_if]
    (base, base_images), (new, new_images) = (find_curve(name, options.results) for name in (options.base, options.new))
    comparisons = compare_curves(base, new, options.metric, method=options.method, at=options.at)
    same = base.name == new.name
    names = (options.new, options.base) if same else (new.name, base.name)
    images = f", {comparisons[0].n_images} images" if comparisons[0].n_images else ""
    title = f"{names[0]} against {names[1]}{images}"
    warnings = []
    if base_images and new_images and base_images.casefold() != new_images.casefold():
        warnings = [f"not the same images: {names[1]} was measured on {base_images}, {names[0]} on {new_images}"]
    broken = [bound.text for bound in bounds if bound.holds(comparisons)]
    say = _print_markdown if options.markdown else _print
    say(
        title,
        _rows(comparisons),
        warnings,
        _remarks(comparisons, options.worst),
        [f"failed: {text}" for text in broken],
    )
    if broken:
        return 3
    return 0 if any(comparison.bd_rate or comparison.bd_quality for comparison in comparisons) else 1


def find_curve(name: str, results: Path) -> tuple["CurveSource", str]:
    """Return the curve that `name` means on the command line, and the dataset it was measured on ("" if not known).

    Raises:
        BenchError: there is none, or a label has several and one must be chosen.
    """
    from rdbench.curves import all_curves, curve_data
    from rdbench.interop import import_compressai, load_published
    from rdbench.records import load_records

    if name.endswith(".json"):
        points = import_compressai(name)
        return points, str(points.meta.get("dataset", ""))
    if name.startswith("published/"):
        points = load_published(name)
        return points, str(points.meta.get("dataset", ""))
    folder, _, label = name.rpartition(":")
    if not folder and (Path(name) / "records.csv").is_file():
        folder, label = name, ""
    records = load_records(Path(folder) if folder else results)
    dataset = ", ".join(sorted(set(records["dataset"]))) if "dataset" in records.columns else ""
    if label:
        return curve_data(records, label), dataset
    curves = all_curves(records)
    if len(curves) != 1:
        raise BenchError(f"'{name}' has several curves: say {name}:LABEL with one of {', '.join(curves)}")
    return next(iter(curves.values())), dataset


def _rows(comparisons: Sequence["Comparison"]) -> list[dict[str, str]]:
    """Return the figures by column, a row a metric; a column in which nothing is known is left out."""
    from rdbench.curves import metric_info

    rows = []
    for comparison in comparisons:
        info = metric_info(comparison.metric)
        unit = f" ({info.unit})" if info.unit else ""
        rate, quality = comparison.bd_rate, comparison.bd_quality
        decided = comparison.wins + comparison.losses
        rows.append(
            {
                "metric": f"{info.title}{unit} {'↑' if info.higher_is_better else '↓'}",
                "BD-rate": format_figure(rate, ".2f", " %"),
                "95 % CI": format_interval(rate, ".2f"),
                "BD-quality": format_figure(quality, ".3g", ""),
                "95 % CI ": format_interval(quality, ".3g"),
                "overlap": f"{rate.overlap:.0%}" if rate else "",
                "won/lost": f"{comparison.wins}/{comparison.losses}" if decided else "",
            }
        )
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    return [{name: row[name] for name in columns} for row in rows]


def _print(
    title: str, rows: Sequence[dict[str, str]], warnings: list[str], remarks: list[str], failures: list[str]
) -> None:
    """Print for a terminal."""
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, TABLE_WIDTH)  # a narrow terminal wraps lines; figures are never cut off
    table = Table(box=None, header_style="bold")
    for name in rows[0]:
        table.add_column(name.strip(), justify="left" if name == "metric" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row.values())
    console.print(printable(title), style="bold", soft_wrap=True)
    console.print(table)
    for lines, style in ((warnings, "yellow"), (remarks, None), (failures, "red")):
        for line in lines:
            console.print(printable(line), style=style, soft_wrap=True)


def _print_markdown(
    title: str, rows: Sequence[dict[str, str]], warnings: list[str], remarks: list[str], failures: list[str]
) -> None:
    """Print as GitHub's Markdown shows it."""
    lines = [f"**{_escaped(title)}**", ""]
    lines.append("| " + " | ".join(name.strip() for name in rows[0]) + " |")
    lines.append("|" + "|".join(":--" if name == "metric" else "--:" for name in rows[0]) + "|")
    lines += ["| " + " | ".join(map(_escaped, row.values())) + " |" for row in rows]
    lines += ["", *(f"- **{_escaped(line)}**" for line in failures)]
    lines += [f"- {_escaped(line)}" for line in (*warnings, *remarks)]
    print("\n".join(lines))


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|~" else char for char in printable(text, None))


def _remarks(comparisons: Sequence["Comparison"], worst: int) -> list[str]:
    first = comparisons[0]
    lines = [
        f"{what} time: {ratio:.3g} times that of {first.base}"
        for what, ratio in (("encode", first.encode_ratio), ("decode", first.decode_ratio))
        if not math.isnan(ratio)
    ]
    for comparison in comparisons:
        images = ", ".join(f"{image} {value:+.1f} %" for image, value in comparison.worst(worst))
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
    return lines + [f"{', '.join(metrics)}: {note}" for note, metrics in by_note.items()]
