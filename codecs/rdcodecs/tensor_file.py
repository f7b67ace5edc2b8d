"""Files of tensors that others may read as they may read any new file."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors.

    Args:
        tensors: contiguous.
        path: of the file; its folder is there.
        metadata: kept in the file's head.
    """
    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    give_usual_rights(path)


def give_usual_rights(path: Path) -> None:
    """Give a file the rights of a new one: safetensors leaves its files to their owner alone, whatever the umask.

    Where the file system does not let rights be changed they stay as they are.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch()
    try:
        with suppress(PermissionError):
            path.chmod(fresh.stat().st_mode & 0o777)
    finally:
        fresh.unlink()
