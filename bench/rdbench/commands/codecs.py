"""rdbench codecs: what can be measured here."""

import argparse
from typing import TYPE_CHECKING

from rich.table import Table

from rdbench.commands import table_console
from rdbench.text import message
from rdcodecs import CodecError, RateSpec, available_codecs
from rdcodecs.registry import codec_class, is_shipped, load_codec, option_defaults

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
        if not is_shipped(name):
            table.add_row(*_others(name))
            continue
        try:
            cls = codec_class(name)
        except CodecError as error:
            table.add_row(name, "", "", "", message(error))
            continue
        table.add_row(
            name,
            _rate(cls.rate),
            _options(option_defaults(cls)),
            _options(cls.decode_options),
            _state(name),
        )
    table_console().print(table)
    return 0


def _others(name: str) -> list[str]:
    """Return the row of another package's codec, which is asked in a process of its own."""
    from rdbench.describing import LOAD_LIMIT_S, describe_codec
    from rdcodecs.description import OWN_SOURCE

    try:
        codec = describe_codec(name, {}, limit_s=LOAD_LIMIT_S, complete=True)
    except CodecError as error:
        return [name, "", "", "", message(error)]
    source = (codec.fingerprint or {})[OWN_SOURCE]
    return [name, _rate(codec.rate), _options(source["options"]), _options(codec.decode_options), "yes"]


def _rate(spec: RateSpec) -> str:
    return f"{spec.name} {spec.low:g}..{spec.high:g}"


def _options(options: object) -> str:
    return ", ".join(f"{key}={value}" for key, value in dict(options).items())  # type: ignore[call-overload]


def _state(name: str) -> str:
    try:
        load_codec(name).check()
    except CodecError:
        return "no (rdbench doctor)"
    return "yes"
