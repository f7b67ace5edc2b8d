"""One process at a time writes the tables of a results folder, and no signal stops it halfway."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from rdbench.messages import say

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK_NAME = "ledger.sqlite.lock"
_SAY_AFTER_S = 5.0
_HELD_BACK = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def folder_lock(folder: Path, console: Console) -> Iterator[None]:
    """Hold the lock of a results folder; wait for whoever has it.

    Where the file system has no locks, there is none: runs then write their tables one over the other, each of them
    whole.
    """
    if fcntl is None:
        yield
        return
    try:
        file = (folder / _LOCK_NAME).open("ab")
    except OSError:
        yield
        return
    with file:
        started, said = time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said and time.monotonic() - started > _SAY_AFTER_S:
                    say(console, "waiting for another run, which writes the tables")
                    said = True
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield


class SignalsHeldBack:
    """Ctrl-C and SIGTERM wait until a block is left; `came` then says whether there was one.

    Outside of the main thread it does nothing, since there no signal arrives.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "SignalsHeldBack":
        if threading.current_thread() is threading.main_thread():
            for number in _HELD_BACK:
                before = signal.getsignal(number)
                if before is not None and before != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
