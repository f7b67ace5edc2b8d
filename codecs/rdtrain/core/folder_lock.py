"""One training at a time in a folder: two would overwrite each other's states."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rdtrain.core.errors import TrainingError

_LOCK = ".lock"
_HELD = (errno.EAGAIN, errno.EACCES)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a training's folder, made where it is not there.

    The system gives it free when the process ends, whatever ends it. Where the system or the file system knows no
    locks nothing is held.

    Args:
        folder: of states, log and pictures.

    Raises:
        TrainingError: another training holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _hold(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Anything else is a file system that has no locks: no reason not to train.
        if error.errno in _HELD:
            raise TrainingError(
                f"another training is at work in '{folder}': wait until it has ended, or use another folder"
            ) from error
