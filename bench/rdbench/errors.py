"""Errors that are a user's to mend: the command line prints their one line and no traceback."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Something the user can put right. The message is one line: what is wrong and what to do."""


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> str:
    """Return "unknown KIND 'NAME': ..." with the nearest known name, or else the list of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "have " + ", ".join(names)
    return f"unknown {kind} '{name}': {hint}"
