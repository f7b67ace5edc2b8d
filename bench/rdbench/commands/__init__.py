"""The verbs of the command line, one file each: `add_parser` declares one, `execute` carries it out."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    Commands = _SubParsersAction[ArgumentParser]


def table_console(width: int = 130) -> Console:
    """Return a console for tables, at least `width` characters wide: a narrow terminal wraps lines, nothing is cut."""
    console = Console(highlight=False, markup=False)
    console.width = max(console.width, width)
    return console


def add_results_options(parser: "ArgumentParser") -> None:
    """Declare what commands take that show whole results folders."""
    parser.add_argument("results", nargs="+", type=Path, help="results folders, e.g. results/kodak")
    parser.add_argument("--anchor", help="curve that BD figures are given against (default: the experiment's)")
    parser.add_argument("--overlay", action="append", help="a published curve, e.g. published/compressai-kodak/vtm")
