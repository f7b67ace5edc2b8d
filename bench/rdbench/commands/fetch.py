"""rdbench fetch: get weights that packages do not bring."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rdbench.commands import table_console

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fetch",
        help="get trained weights that packages do not bring, once",
        description="Get trained weights into the cache folder (RDBENCH_CACHE, by default ~/.cache/rdbench). Without "
        "WHAT, list what can be fetched. No other command downloads weights.",
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help="e.g. lpips")
    parser.add_argument(
        "--from",
        dest="given",
        type=Path,
        metavar="PATH",
        help="a file that was downloaded elsewhere, or the folder it is in, instead of the network",
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Fetch, or list."""
    from rdbench.metrics.fetching import fetch

    console = Console(soft_wrap=True, highlight=False, markup=False)
    for name in options.what:
        found = fetch(name, options.given, console.print)
        console.print(f"{name} is here ({found.purpose})")
    if not options.what:
        _list()
    return 0


def _list() -> None:
    from rdbench.metrics.fetching import fetchables

    table = Table("what", "for", "size", "licence", "here", box=None, header_style="bold")
    for one in fetchables():
        table.add_row(one.name, one.purpose, one.size, one.licence, "yes" if one.is_here() else "no")
    table_console().print(table)
