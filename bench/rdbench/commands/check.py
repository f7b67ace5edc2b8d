"""rdbench check: does a codec keep to its interface?"""

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from rdbench.errors import BenchError
from rdbench.text import counted

if TYPE_CHECKING:
    from rdbench.commands import Commands


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        help="try a codec of your own out",
        description="Try out whether a codec keeps to its interface: bytes decoded in a fresh process, the same image "
        "every time, all sizes, damaged streams, threads. One line per finding; exit status 1 where one says FAIL.",
    )
    parser.add_argument("codec", help="path/to/file.py:Class, or a codec's name")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the codec; may be repeated"
    )
    parser.add_argument("--rate", type=float, help="the rate point to try (default: the middle of its own)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds that one call may take (default: 600)")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Check; 1 where the codec fails."""
    from rdbench.checking import check_codec

    if not options.timeout > 0 or math.isinf(options.timeout):
        raise BenchError(f"--timeout {options.timeout:g}: give a number of seconds")
    failed = warned = count = 0
    for finding in check_codec(options.codec, _options(options.option), rate=options.rate, limit_s=options.timeout):
        print(f"{finding.verdict:4} {finding.what}: {finding.detail}")
        sys.stdout.flush()
        count += 1
        failed += finding.verdict == "FAIL"
        warned += finding.verdict == "WARN"
    print(f"{options.codec}: {counted(count, 'finding')}, {failed} FAIL, {warned} WARN")
    return 1 if failed else 0


def _options(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise BenchError(f"--option {text}: give a name and a value, e.g. --option subsampling=444")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
