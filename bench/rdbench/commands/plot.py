"""rdbench plot: every plot and table anew from stored records; no codec runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rdbench.text import printable

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "plot",
        help="draw plots and tables again from stored records",
        description="Write summary.csv, bd.csv and every plot of results folders anew from their records.csv. "
        "No codec runs.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="results folders, e.g. results/kodak")
    parser.add_argument("--anchor", help="curve that BD figures are given against (default: the experiment's)")
    parser.add_argument("--overlay", action="append", help="a published curve, e.g. published/compressai-kodak/vtm")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Draw."""
    from rdbench.outputs import PROVENANCE, derive
    from rdbench.provenance import read_provenance

    console = Console(stderr=True)
    writers = []  # a name that one folder lacks is said before any folder is touched
    for folder in options.results:
        experiment = read_provenance(folder / PROVENANCE).get("experiment", {})
        writer = derive(
            folder,
            anchor=options.anchor or experiment.get("anchor"),
            bd_method=experiment.get("bd_method", "pchip"),
            overlay=options.overlay or experiment.get("overlay", []),
            console=console,
            strict=options.anchor is not None,
        )
        writers.append((folder, writer))
    for folder, write in writers:
        write()
        console.print(f"plots: {printable(folder / 'plots')}", markup=False, highlight=False, soft_wrap=True)
    return 0
