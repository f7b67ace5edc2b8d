"""The verbs of the command line, one file each: `add_parser` declares one, `execute` carries it out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    Commands = _SubParsersAction[ArgumentParser]

TABLE_WIDTH = 130
"""Least width of a printed table, in characters: a narrower terminal wraps lines, but nothing is cut off."""
