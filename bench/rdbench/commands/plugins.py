"""Commands of other packages: they join the command line by an entry point, and the help lists them apart.

An entry point of the group `rdbench.commands` names a module with ``add_parser(commands)``, as those in this folder
have it, and with ``GROUP``, the heading under which the help lists its commands. It is imported whenever the command
line starts, so it should import nothing heavy before its command is carried out.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from rdbench.errors import BenchError
from rdbench.text import message, one_line

if TYPE_CHECKING:
    from rdbench.commands import Commands

ENTRY_POINT_GROUP = "rdbench.commands"
_OTHERS = "other commands"


def add_plugins(commands: "Commands") -> dict[str, list[str]]:
    """Declare every installed command, and return their names under the headings of the help.

    One that cannot be loaded is declared all the same, and says so in one line when it is used. A name that is taken
    stays with the command that has it.
    """
    groups: dict[str, list[str]] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        before = list(commands.choices)
        if point.name in before:
            print(f"rdbench: the command '{point.name}' of {_owner(point)} is left out: there is one", file=sys.stderr)
            continue
        heading = _OTHERS
        try:
            module = point.load()
            module.add_parser(commands)
            if point.name not in commands.choices:
                raise BenchError(f"it declares no command '{point.name}'")
            heading = str(getattr(module, "GROUP", _OTHERS))
        except (Exception, SystemExit) as error:  # whatever another package does, the rest goes on
            for name in commands.choices.keys() - before:
                del commands.choices[name]
            _add_broken(commands, point, error)
        groups.setdefault(heading, []).extend(name for name in commands.choices if name not in before)
    return groups


def list_in_groups(
    parser: argparse.ArgumentParser, commands: "Commands", groups: Mapping[str, Sequence[str]]
) -> argparse.ArgumentParser:
    """Let a parser's help list its commands under headings, heading → names; return the parser."""
    parser.usage = "%(prog)s [-h] [--version] COMMAND ..."
    commands.help = argparse.SUPPRESS
    # argparse has one heading for all commands. These are the lines that it would print under it.
    lines = {line.dest: line for line in commands._choices_actions}
    for heading, names in groups.items():
        parser.add_argument_group(heading)._group_actions.extend(lines[name] for name in names)
    return parser


def _add_broken(commands: "Commands", point: EntryPoint, error: BaseException) -> None:
    reason = message(error) if isinstance(error, BenchError) else one_line(error)
    refusal = f"the command '{point.name}' of {_owner(point)} cannot be loaded ({reason})"
    # No option has this prefix: whatever follows is taken, and the one line is said.
    parser = commands.add_parser(
        point.name, help="cannot be loaded: use it to see why", add_help=False, prefix_chars="\0"
    )
    parser.add_argument("rest", nargs="*")
    parser.set_defaults(execute=_refusing(refusal))


def _refusing(line: str) -> Callable[[argparse.Namespace], int]:
    def refuse(_options: argparse.Namespace) -> int:
        raise BenchError(line)

    return refuse


def _owner(point: EntryPoint) -> str:
    return f"the package '{point.dist.name}'" if point.dist is not None else f"'{point.value}'"
