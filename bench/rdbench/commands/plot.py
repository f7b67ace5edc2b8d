"""rdbench plot: every plot and table anew from stored records; no codec runs."""

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
        "plot",
        help="draw plots and tables again from stored records",
        description="Write summary.csv, bd.csv and every plot of results folders anew from their records.csv. "
        "No codec runs.",
    )
    add_results_options(parser)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Draw."""
    from rdbench.layout import PLOTS, PROVENANCE
    from rdbench.outputs import derive
    from rdbench.provenance import experiment_in, read_provenance

    console = Console(stderr=True)
    writers = []  # a name that one folder lacks is said before any folder is touched
    for folder in options.results:
        experiment = experiment_in(read_provenance(folder / PROVENANCE))
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
        say(console, f"plots: {folder / PLOTS}")
    return 0
