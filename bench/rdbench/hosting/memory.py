"""Watch how much memory a process and its children use."""

import contextlib

import psutil

_PAUSE_S = 0.1


class MemoryWatch:
    """The memory of a process with its children, against a limit."""

    def __init__(self, pid: int, limit: int) -> None:
        """Watch.

        Args:
            pid: the process.
            limit: bytes that it may use with its children.
        """
        self.pause_s = _PAUSE_S
        self._limit = limit
        self._pid = pid

    def excess(self) -> str | None:
        """Return a line that says how much is used where that is too much, else None."""
        used = self._used("rss")
        if used > self._limit:
            # Children that were forked share pages with their parent, which counted twice would not be fair.
            used = self._used("pss") or used
        if used <= self._limit:
            return None
        return f"stopped: it used {used / 2**30:.1f} GiB, more than --memory {self._limit / 2**30:.3g} GiB"

    def _used(self, kind: str) -> int:
        total = 0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._pid)
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    facts = each.memory_info() if kind == "rss" else each.memory_full_info()
                    total += getattr(facts, kind, facts.rss)
        return total
