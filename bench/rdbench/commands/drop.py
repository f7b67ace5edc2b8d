"""rdbench drop: take rows out of a results folder."""

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
        "drop",
        help="take rows out of a results folder",
        description="Take out the rows that every option given applies to, and write tables and plots anew. Nothing "
        "else ever removes a row.",
    )
    parser.add_argument("results", type=Path, help="results folder, e.g. results/kodak")
    parser.add_argument("--label", action="append", default=[], help="of this label; may be repeated")
    parser.add_argument("--image", action="append", default=[], help="of this image; may be repeated")
    parser.add_argument("--rate", action="append", type=float, default=[], help="at this rate; may be repeated")
    parser.add_argument("--errors", action="store_true", help="those that failed")
    parser.add_argument("--unused", action="store_true", help="those that no table shows")
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Drop."""
    from rdbench.tending import drop_rows

    console = Console(stderr=True)
    count = drop_rows(
        options.results,
        labels=options.label,
        images=options.image,
        rates=options.rate,
        errors=options.errors,
        unused=options.unused,
        dry_run=options.dry_run,
        console=console,
    )
    what = "would be dropped" if options.dry_run else "dropped"
    say(console, f"{counted(count, 'row')} {what}")
    return 0
