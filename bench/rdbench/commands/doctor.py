"""rdbench doctor: what this machine lacks, and how to get it."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console

from rdbench.text import message, one_line, printable
from rdcodecs import CodecError, available_codecs

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="list what is missing on this machine and how to get it",
        description="Check every codec and metric. What is missing is only ever left out of a run, never replaced.",
    )
    parser.set_defaults(execute=execute)


def execute(_: argparse.Namespace) -> int:
    """Check. The status is 0 whatever is missing: everything is optional."""
    from rdbench.available import available_metrics
    from rdbench.describing import LOAD_LIMIT_S, describe_codec
    from rdbench.metrics import metric_names
    from rdbench.provenance import describe_machine
    from rdcodecs.description import OWN_SOURCE

    console = Console(soft_wrap=True, highlight=False)
    machine = describe_machine()
    console.print(
        f"rdbench {machine['rdbench']}, Python {machine['python']}, {machine['system']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB",
        markup=False,
    )
    for name in available_codecs():
        try:
            fingerprint = describe_codec(name, {}, limit_s=LOAD_LIMIT_S, complete=True).fingerprint or {}
            facts = {key: value for key, value in fingerprint.items() if key not in {"codec", "name", OWN_SOURCE}}
        except CodecError as error:
            _line(console, False, f"codec {name}", message(error))
        except Exception as error:  # a codec that ships has a bug on this machine
            _line(console, False, f"codec {name}", one_line(error))
        else:
            _line(console, True, f"codec {name}", ", ".join(f"{key} {value}" for key, value in facts.items()))
    ready, missing = available_metrics(metric_names())
    for name in ready:
        _line(console, True, f"metric {name}", ", ".join(f"{key} {value}" for key, value in ready[name].items()))
    for line in missing:
        _line(console, False, "metric", line.removeprefix("metric "))
    return 0


def _line(console: Console, good: bool, what: str, detail: str) -> None:
    console.print("[green]ok     [/]" if good else "[yellow]missing[/]", end=" ")
    console.print(printable(f"{what}: {detail}"), markup=False)
