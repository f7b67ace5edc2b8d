"""Temporary folders that go with the process that made them, however that ends.

A folder's owner holds a lock on a file in it. What a killed run leaves behind has no owner any more, and the next run
takes it away.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "rdbench-run-"
_LOCK = "owner"
_YOUNG_S = 3600.0
"""Age below which a folder without a lock may be one that is just being made."""


class Scratch:
    """A temporary folder of this process."""

    def __init__(self) -> None:
        """Make the folder."""
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):  # some file systems know no locks: nobody sweeps there either
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Take the folder away with all that is in it."""
        if self._lock >= 0:
            remove_tree(self.path)
            os.close(self._lock)
            self._lock = -1


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, also where a codec took the right to do so from a folder."""

    def again(_: object, path: str, __: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            os.chmod(path, 0o700)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)

    shutil.rmtree(folder, onerror=again)


def remove_if_last(folder: Path) -> None:
    """Take a scratch folder away if nothing but its lock is in it: for the last process that works in it."""
    with contextlib.suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {_LOCK}:
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()


def sweep() -> None:
    """Take away the folders of this user's runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if facts.st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink() and _is_abandoned(folder):
                remove_tree(folder)


def _is_abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _YOUNG_S
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
