"""rdbench report: the HTML page of results folders; no codec runs."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

from rdbench.commands import add_results_options
from rdbench.messages import say

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="write an HTML page of the results: curves, figures, pictures",
        description="Write RESULTS/report.html of each results folder from its records.csv: one file that opens in any "
        "browser, without a server or a network. No codec runs. Pictures are in it where the run kept its "
        "reconstructions (rdbench run --keep).",
    )
    add_results_options(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Write the pages."""
    from rdbench.curves import resolve_curve
    from rdbench.records import load_records
    from rdbench.report import write_report

    for folder in options.results:  # an anchor that one folder lacks is said before any page is written
        if options.anchor is not None:
            resolve_curve(load_records(folder), options.anchor)
    console = Console(stderr=True)
    for folder in options.results:
        path = write_report(folder, console, anchor=options.anchor, overlays=options.overlay)
        say(console, f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
