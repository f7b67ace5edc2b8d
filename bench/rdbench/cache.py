"""Where files are kept that were got once and can be got again: downloaded images and weights."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the cache folder: ``$RDBENCH_CACHE``, else ``rdbench`` under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    named = os.environ.get("RDBENCH_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rdbench"
