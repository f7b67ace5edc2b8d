"""Where datasets are kept on this machine."""

import os
from pathlib import Path

from rdbench.cache import cache_root
from rdbench.datasets.base import DatasetError


def data_root(root: Path | None) -> Path | None:
    """Return the folder that holds datasets: `root`, else ``$RDBENCH_DATA``, else `None`.

    Raises:
        DatasetError: the folder is named but does not exist.
    """
    named = os.environ.get("RDBENCH_DATA")
    if root is None and not named:
        return None
    folder = Path(os.path.expanduser(named or "")) if root is None else root
    if not folder.is_dir():
        raise DatasetError(f"no folder '{folder}'" + (" (from RDBENCH_DATA)" if root is None else ""))
    return folder


def cache_folder(name: str) -> Path:
    """Return where downloads of dataset `name` go, in the cache folder (`cache_root`)."""
    return cache_root() / name
