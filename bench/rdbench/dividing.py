"""Several runs in one results folder divide the tasks among themselves."""

import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

from rdbench.cell import Cell
from rdbench.leases import Leases
from rdbench.ledger import Ledger
from rdbench.measure import Task


class State(Enum):
    """Where a task stands that this run did not get."""

    HELD = "another run works on it"
    DONE = "another run has done it"
    FREE = "nobody works on it"


class Division:
    """Says of each task whether this run carries it out. May be asked from several threads."""

    def __init__(self, path: Path, since: int, metrics: Mapping[str, str]) -> None:
        """Join the runs that work in a ledger's folder.

        Args:
            path: the ledger's file.
            since: revision of the rows that the plan was made from. What came later is another run's work.
            metrics: metric name → fingerprint digest, of what is to be computed.
        """
        self._since = since
        self._metrics = metrics
        self._lock = threading.Lock()
        self._ledger = Ledger(path)
        self._leases = Leases(path)

    def claim(self, task: Task) -> bool:
        """Whether this run carries a task out now: no other run does, or has done it since the plan was made."""
        if not self._leases.claim(_name(task)):
            return False
        # Only now: another run may have finished it a moment ago.
        if self.outcome(task):
            self._leases.release(_name(task))
            return False
        return True

    def release(self, task: Task) -> None:
        """Note that this run has done a task."""
        self._leases.release(_name(task))

    def state(self, task: Task) -> State:
        """Return where a task stands that `claim` refused."""
        if self.outcome(task):
            return State.DONE
        return State.HELD if self._leases.is_held(_name(task)) else State.FREE

    def outcome(self, task: Task) -> Sequence[Cell]:
        """Return a task's cells as another run has measured them, or failed to; nothing unless it has all of them."""
        with self._lock:
            rows = self._ledger.newer({cell.key for cell in task.cells}, self._since)
        found = {
            cell.key: cell for cell in rows if cell.error or self._metrics.items() <= cell.metric_fingerprints.items()
        }
        return [found[cell.key] for cell in task.cells] if len(found) == len(task.cells) else []

    def close(self) -> None:
        """Give back the tasks that this run still holds."""
        self._leases.close()
        self._ledger.close()

    def __enter__(self) -> "Division":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _name(task: Task) -> str:
    """Return what is the same for the same bitstream in every run."""
    return task.cells[0].encode_key
