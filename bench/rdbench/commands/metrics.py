"""rdbench metrics: what can be computed here."""

import argparse
from typing import TYPE_CHECKING

from rich.table import Table

from rdbench.commands import table_console

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser("metrics", help="list metrics with their direction, range and smallest image")
    parser.set_defaults(execute=execute)


def execute(_: argparse.Namespace) -> int:
    """List."""
    from rdbench.available import available_metrics
    from rdbench.metrics import DerivedMetric, metric_class, metric_names

    table = Table("metric", "title", "better", "range", "smallest side", "here", box=None, header_style="bold")
    ready, _lines = available_metrics(metric_names())
    for name in metric_names():
        cls = metric_class(name)
        side = "" if issubclass(cls, DerivedMetric) else f"{cls.min_side} px"
        low, high = cls.range
        table.add_row(
            name,
            cls.title,
            "higher" if cls.higher_is_better else "lower",
            f"{low:g}..{high:g} {cls.unit}".rstrip(),
            side,
            "yes" if name in ready else "no (rdbench doctor)",
        )
    table_console().print(table)
    return 0
