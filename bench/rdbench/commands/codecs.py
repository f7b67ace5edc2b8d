"""rdbench codecs: what can be measured here."""

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from rdbench.commands import TABLE_WIDTH
from rdbench.text import message
from rdcodecs import CodecError, available_codecs
from rdcodecs.registry import codec_class, load_codec, option_defaults

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser("codecs", help="list codecs with their rates and options")
    parser.set_defaults(execute=execute)


def execute(_: argparse.Namespace) -> int:
    """List."""
    table = Table("codec", "rate", "options", "decode options", "here", box=None, header_style="bold")
    for name in available_codecs():
        try:
            cls = codec_class(name)
        except CodecError as error:
            table.add_row(name, "", "", "", message(error))
            continue
        spec = cls.rate
        table.add_row(
            name,
            f"{spec.name} {spec.low:g}..{spec.high:g}",
            _options(option_defaults(cls)),
            _options(cls.decode_options),
            _state(name),
        )
    console = Console(markup=False)
    console.width = max(console.width, TABLE_WIDTH)
    console.print(table)
    return 0


def _options(options: object) -> str:
    return ", ".join(f"{key}={value}" for key, value in dict(options).items())  # type: ignore[call-overload]


def _state(name: str) -> str:
    try:
        load_codec(name).check()
    except CodecError:
        return "no (rdbench doctor)"
    return "yes"
