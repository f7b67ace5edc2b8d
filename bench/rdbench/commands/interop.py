"""rdbench import and rdbench export: CompressAI's results JSON, both ways."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rdbench.errors import BenchError
from rdbench.files import atomic_text
from rdbench.messages import say
from rdbench.text import counted

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare both commands."""
    into = commands.add_parser(
        "import",
        help="import a CompressAI results JSON as a published curve",
        description="Check a CompressAI results JSON and put it under results/published, where `overlay:` of an "
        "experiment and `rdbench compare` find it.",
    )
    into.add_argument("file", type=Path, help="a CompressAI results JSON")
    into.add_argument("--as", dest="name", metavar="SOURCE/CURVE", help="its name (default: imported/FILE)")
    into.add_argument("--source", default="", help="where it comes from: a citation or an address")
    into.add_argument("--published", type=Path, default=Path("results/published"), help=argparse.SUPPRESS)
    into.set_defaults(execute=execute_import)
    out = commands.add_parser("export", help="write a curve as a CompressAI results JSON")
    out.add_argument("results", type=Path, help="a results folder")
    out.add_argument("label", help="a codec's label")
    out.add_argument("--out", type=Path, help="the file (default: standard output)")
    out.set_defaults(execute=execute_export)


def execute_import(options: argparse.Namespace) -> int:
    """Import."""
    from dataclasses import replace

    from rdbench.interop import import_compressai

    points = import_compressai(options.file)
    name = options.name or f"imported/{options.file.stem}"
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+", name) or ".." in name:
        raise BenchError(f"--as {name}: give SOURCE/CURVE, e.g. elic/kodak")
    target = options.published / f"{name}.json"
    if target.exists():
        raise BenchError(f"'{target}' exists: choose another name with --as")
    target.parent.mkdir(parents=True, exist_ok=True)
    sourced = replace(points, source=options.source or points.source)
    with atomic_text(target) as file:
        json.dump(sourced.to_compressai(), file, indent=2)
        file.write("\n")
    say(Console(stderr=True), f"{counted(len(points.bpp), 'point')}: published/{name}")
    return 0


def execute_export(options: argparse.Namespace) -> int:
    """Export."""
    from rdbench.interop import export_compressai
    from rdbench.records import load_records

    document = export_compressai(load_records(options.results), options.label)
    text = json.dumps(document, indent=2) + "\n"
    if options.out is None:
        sys.stdout.write(text)
    else:
        with atomic_text(options.out) as file:
            file.write(text)
    return 0
