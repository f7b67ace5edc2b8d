"""One training at a time in a folder: two would overwrite each other's states."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rdcodecs.training.errors import TrainingError

_LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a training's folder, made where it is not there.

    The system gives it free when the process ends, whatever ends it. On a file system that knows no locks nothing is
    held.

    Args:
        folder: of states, log and pictures.

    Raises:
        TrainingError: another training holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise TrainingError(
            f"another training is at work in '{folder}': wait until it has ended, or use another folder"
        ) from error
    except NotImplementedError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
