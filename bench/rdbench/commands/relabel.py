"""rdbench relabel: give rows of a results folder another label."""

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
        "relabel",
        help="give rows of a results folder another label",
        description="Give the rows of a label another one, and write tables and plots anew.",
    )
    parser.add_argument("results", type=Path, help="results folder, e.g. results/kodak")
    parser.add_argument("old", help="the label")
    parser.add_argument("new", help="what it becomes")
    parser.add_argument("--fingerprint", default="", help="only this configuration of it; its first digits are enough")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Relabel."""
    from rdbench.tending import relabel_rows

    console = Console(stderr=True)
    count = relabel_rows(options.results, options.old, options.new, fingerprint=options.fingerprint, console=console)
    say(console, f"{counted(count, 'row')} of {options.old}: now {options.new}")
    return 0
