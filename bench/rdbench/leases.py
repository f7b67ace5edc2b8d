"""Which run works on which task, where several run in one results folder.

A task is leased in the ledger by the run that starts it. A lease ends with its task, or with its owner: one on this
machine whose process is gone is found out at once, any other one by its heartbeat, a number in the ledger that a
living run counts up. A run that waits watches that number by its own monotonic clock; no wall clock is asked.
"""

import contextlib
import json
import os
import platform
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from rdbench.ledger import LedgerError, connect, translated

_BEAT_S = 5.0
SILENT_S = 60.0
"""Seconds without a heartbeat after which an owner counts as dead."""


class Leases:
    """The leases of one run. Its methods may be called from several threads."""

    def __init__(self, path: Path) -> None:
        """Open a ledger's leases, and keep this run's heartbeat going until `close`.

        Args:
            path: the ledger's file, made already.
        """
        self.owner = uuid.uuid4().hex
        self._path = path
        self._db = connect(path)
        self._lock = threading.Lock()
        self._beats: dict[str, tuple[int, float]] = {}
        self._ended = threading.Event()
        with self._changing():
            self._sign_in()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def claim(self, task: str) -> bool:
        """Take a task, unless another living run has it. Returns whether it is this run's now.

        Raises:
            LedgerError: the disk is full, or the ledger cannot be written.
        """
        with self._changing():
            holder = self._holder(task)
            if holder is not None and holder != self.owner and self._is_alive(holder):
                return False
            if holder is not None and holder != self.owner:
                self._remove_owner(holder)
            self._sign_in()
            self._db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?)", (task, self.owner))
        return True

    def is_held(self, task: str) -> bool:
        """Whether another living run has a task."""
        with self._changing():
            holder = self._holder(task)
            return holder is not None and holder != self.owner and self._is_alive(holder)

    def release(self, task: str) -> None:
        """Give a task back, if it is still this run's."""
        with self._changing():
            self._db.execute("DELETE FROM leases WHERE task = ? AND owner = ?", (task, self.owner))

    def close(self) -> None:
        """Give every task back and end the heartbeat."""
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(LedgerError), self._changing():  # a lease that stays ends with this process
            self._remove_owner(self.owner)
        self._db.close()

    def __enter__(self) -> "Leases":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise translated(error, self._path) from error

    def _holder(self, task: str) -> str | None:
        found = self._db.execute("SELECT owner FROM leases WHERE task = ?", (task,)).fetchone()
        return None if found is None else found[0]

    def _sign_in(self) -> None:
        # Again before each claim: a run that was suspended may have been taken for dead.
        values = (self.owner, json.dumps(describe_process(os.getpid())))
        self._db.execute("INSERT OR IGNORE INTO owners VALUES (?, ?, 0)", values)

    def _remove_owner(self, owner: str) -> None:
        self._db.execute("DELETE FROM leases WHERE owner = ?", (owner,))
        self._db.execute("DELETE FROM owners WHERE owner = ?", (owner,))

    def _is_alive(self, owner: str) -> bool:
        found = self._db.execute("SELECT process, beat FROM owners WHERE owner = ?", (owner,)).fetchone()
        if found is None:
            return False
        machine, pid, started = json.loads(found[0])
        here = describe_process(os.getpid())
        if machine == here[0] and describe_process(pid) != [machine, pid, started]:
            return False
        now = time.monotonic()
        beat: int = found[1]
        last, since = self._beats.get(owner, (beat, now))
        if last != beat:
            since = now
        self._beats[owner] = (beat, since)
        return now - since < SILENT_S

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            with contextlib.suppress(sqlite3.Error), self._lock:  # a full disk is for the run itself to say
                self._db.execute("UPDATE owners SET beat = beat + 1 WHERE owner = ?", (self.owner,))


def describe_process(pid: int) -> list[object]:
    """Return [machine, pid, start] of a process: what no other process of any machine has, while this one runs.

    The start is the kernel's count since the machine's start, where it can be had: the wall clock can be set. It is
    None for a process that does not run any more.
    """
    try:
        # After the command's name, which may hold anything: state, and 18 fields on the start.
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return [_machine(), pid, None if state in "ZX" else int(fields[18])]
    except (OSError, ValueError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return [_machine(), pid, None]
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return [_machine(), pid, None if gone else round(process.create_time())]
    except psutil.Error:
        return [_machine(), pid, None]


def _machine() -> str:
    """Return what tells apart machines, their restarts, and containers that count processes from 1 each."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
