"""rdbench paper: the paper's figures, and its claims beside what was measured; no codec runs."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rdbench.commands import table_console
from rdbench.messages import say, warn
from rdpaper.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rdbench.commands import Commands
    from rdpaper.claims import Judged

GROUP = "studies"
"""The heading under which `rdbench --help` lists it."""


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "paper",
        help="draw the paper's figures and set its claims beside what was measured",
        description="Write RESULTS/paper from records.csv: the figures of 'Generative Image Coding with Diffusion "
        "Prior' (supplementary material) as SVG, PDF and PNG, and claims.csv and claims.md: each of its claims with "
        "its own figure, ours with a confidence interval, and a verdict by a stated rule. No codec runs; what was not "
        "measured is left out and said.",
    )
    default = Path("results/aigc")
    parser.add_argument("results", nargs="?", type=Path, default=default, help=f"results folder (default: {default})")
    for part in fields(Labels):
        parser.add_argument(
            f"--{part.name}",
            metavar="LABEL",
            default=part.default,
            help=f"label of {part.metadata['part']} (default: {part.default})",
        )
    parser.add_argument(
        "--perceptual",
        metavar="METRIC",
        help="metric that stands for the paper's LPIPS (default: the first of LPIPS and ST-LPIPS that was measured)",
    )
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Write, and print the verdicts."""
    from rdpaper.write import write_paper

    labels = Labels(**{part.name: getattr(options, part.name) for part in fields(Labels)})
    paper = write_paper(options.results, labels, perceptual=options.perceptual)
    table_console().print(_table(paper.claims))
    notes = Console(stderr=True)
    for figure in paper.figures:
        if not figure.files:
            warn(notes, f"not drawn: {figure.name}: {'; '.join(figure.notes)}")
    say(notes, f"paper: {paper.folder}")
    return 0


def _table(judged: "Sequence[Judged]") -> Table:
    from rdpaper.tables import claim_rows

    columns = {"claim": "claim", "document": "paper", "ours": "ours (95 % CI)", "verdict": "verdict", "size": "size"}
    table = Table(box=None, header_style="bold")
    for title in columns.values():
        table.add_column(title)
    for row in claim_rows(judged):
        table.add_row(*(row[name] for name in columns))
    return table
