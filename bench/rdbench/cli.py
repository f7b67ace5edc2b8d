"""The command line: one command a verb."""

import argparse
import sys
from collections.abc import Sequence

from rdbench import __version__
from rdbench.commands import codecs, compare, doctor, fetch, interop, metrics, plot, report, run
from rdbench.commands.plugins import add_plugins, list_in_groups
from rdbench.errors import BenchError
from rdcodecs import CodecError

_COMMANDS = (run, plot, report, compare, codecs, metrics, doctor, fetch, interop)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="rdbench",
        description="Rate-distortion evaluation for perceptual and generative image codecs.",
        epilog="Exit status: 0 success, 1 an error that is said in one line, 2 wrong usage, "
        "3 finished with failed cells (run) or a failed condition (compare), 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"rdbench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    groups = {"measure and compare": list(commands.choices), **add_plugins(commands)}
    return list_in_groups(parser, commands, groups)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = make_parser().parse_args(arguments)
    try:
        status: int = options.execute(options)
    except (BenchError, CodecError) as error:
        print(f"rdbench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `rdbench codecs | head`
        sys.stderr.close()
        return 0
    return status
