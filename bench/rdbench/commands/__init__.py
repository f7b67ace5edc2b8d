"""The verbs of the command line, one file each: `add_parser` declares one, `execute` carries it out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    Commands = _SubParsersAction[ArgumentParser]
