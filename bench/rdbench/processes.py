"""End processes with everything that they have started."""

import contextlib

import psutil


def kill_tree(pid: int) -> None:
    """Kill a process with all its descendants; one that is gone already is no error."""
    kill_children(pid)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()


def kill_children(pid: int) -> None:
    """Kill all descendants of a process."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
