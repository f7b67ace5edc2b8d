"""What commands say: one line at a time, and a console whose messages may get lost while the run goes on."""

import contextlib
import os
import sys
from typing import Any, TextIO, cast

from rich.console import Console

from rdbench.text import printable


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print one line. Nothing in it is taken for markup, and control characters are shown as escapes."""
    console.print(printable(line), style=style, markup=False, highlight=False, soft_wrap=True)


def warn(console: Console, line: str) -> None:
    """Print one line that the user should look at."""
    say(console, line, "yellow")


def run_console() -> Console:
    """Return a console on standard error that falls silent where nobody reads it any more (`2>&1 | head`)."""
    return Console(file=cast("TextIO", _Steadfast(sys.stderr)))


class _Steadfast:
    """A text file; once writing to it fails, what is written to it goes nowhere."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with self._quietly():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with self._quietly():
            self._file.flush()

    @contextlib.contextmanager
    def _quietly(self) -> Any:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it was closed
            with contextlib.suppress(OSError, ValueError):
                # What waits in its buffer, and what anybody else writes there, goes nowhere either.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._file.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
