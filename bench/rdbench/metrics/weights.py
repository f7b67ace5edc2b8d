"""Trained weights as files: where they lie on this machine, and never a file taken for what it is not.

Nothing is downloaded here: `rdbench fetch` does that, on request.
"""

import functools
import hashlib
import os
import re
from pathlib import Path

from rdbench.metrics.base import MetricUnavailableError


def verify(path: Path, sha256: str) -> None:
    """Check a file against the first hex digits of its SHA-256.

    Raises:
        MetricUnavailableError: the file is damaged, is another one, or cannot be read.
    """
    try:
        state = path.stat()
        found = _file_hash(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise MetricUnavailableError(f"{path} cannot be read: {error.strerror}") from error
    if not found.startswith(sha256):
        raise MetricUnavailableError(
            f"{path} is damaged or not the file of that name: its SHA-256 starts with "
            f"{found[: len(sha256)]}, not {sha256}; delete it and get it again"
        )


@functools.cache
def _file_hash(path: Path, size: int, modified: int) -> str:
    """Return the hex SHA-256 of a file; of one that has not changed since, without reading it again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_hash(name: str) -> str:
    """Return the SHA-256 digits in a torch hub file's name, e.g. "397923af" for ``vgg16-397923af.pth``."""
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    if match is None:
        raise ValueError(f"'{name}' is not named as torch hub files are, NAME-SHA256.pth")
    return match[1]


def checkpoints_folder() -> Path:
    """Return the folder in which the torch hub keeps weights: ``$TORCH_HOME/hub/checkpoints``.

    The rule is that of `torch.hub.get_dir`, applied without importing torch.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"
