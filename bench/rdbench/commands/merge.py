"""rdbench merge: results of several machines become one folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rdbench.messages import say
from rdbench.text import counted

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "merge",
        help="bring results of several machines together",
        description="Write the rows of several results into one folder, with its tables and plots. No codec runs. "
        "Labels with several configurations are kept, but shown in no table until `rdbench relabel` tells them apart.",
    )
    parser.add_argument("results", nargs="+", type=Path, help="results folders, or their records.csv")
    parser.add_argument("--out", type=Path, required=True, help="the folder; what it holds already stays")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Merge."""
    from rdbench.tending import merge_results

    console = Console(stderr=True)
    count = merge_results(options.results, options.out, console)
    say(console, f"{counted(count, 'row')}: {options.out}")
    return 0
