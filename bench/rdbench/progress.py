"""Progress of a run: how far it is, and how long it will still take."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from rdbench.cell import Cell
from rdbench.measure import Measured, Task
from rdbench.text import printable

_LINE_EVERY_S = 30.0


class TimeLeft:
    """Estimates the time left from what tasks of the same kind took.

    A kind is a codec at a rate: an encoder may take ten times as long at one rate as at another, so that a plain
    average of the tasks done would mislead. Times of earlier runs count until there are new ones.
    """

    def __init__(self, tasks: Iterable[Task], known: Iterable[Cell], workers: int) -> None:
        self._left = Counter(_kind(task) for task in tasks)
        self._workers = workers
        self._earlier: dict[tuple[str, float], tuple[float, int]] = {}
        self._times: dict[tuple[str, float], tuple[float, int]] = {}
        for cell in known:
            if cell.encode_s is not None and cell.decode_s is not None:
                _add(self._earlier, (cell.label, cell.rate), cell.encode_s + cell.decode_s)

    def done(self, task: Task, seconds: float) -> None:
        """Count a finished task."""
        self._left[_kind(task)] -= 1
        _add(self._times, _kind(task), seconds)

    def elsewhere(self, task: Task) -> None:
        """Count a task that another run has done."""
        self._left[_kind(task)] -= 1

    def seconds(self) -> float | None:
        """Return the estimate in seconds, or None before anything is known."""
        total, unknown = 0.0, 0
        overall = self._mean(self._times.values()) or self._mean(self._earlier.values())
        if overall is None:
            return None
        for kind, count in self._left.items():
            entry = self._times.get(kind) or self._earlier.get(kind)
            if entry is None:
                same_codec = self._mean(v for k, v in self._times.items() if k[0] == kind[0])
                if same_codec is None:
                    unknown += count
                else:
                    total += count * same_codec
            else:
                total += count * entry[0] / entry[1]
        return (total + unknown * overall) / self._workers

    @staticmethod
    def _mean(entries: Iterable[tuple[float, int]]) -> float | None:
        pairs = list(entries)
        count = sum(pair[1] for pair in pairs)
        return sum(pair[0] for pair in pairs) / count if count else None


class RunProgress:
    """Shows a run's progress: a bar on a terminal, a line every half minute elsewhere."""

    def __init__(self, total: int, time_left: TimeLeft, console: Console) -> None:
        self._total = total
        self._time_left = time_left
        self._console = console
        self._done = self._failed = 0
        self._last_line = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("measuring", total=total, left="")

    def __enter__(self) -> "RunProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def done(self, task: Task, measured: Measured) -> None:
        """Count a finished task and say of a failure what it was."""
        self._time_left.done(task, measured.total_s)
        self._note(measured.cells, "failed")

    def elsewhere(self, task: Task, cells: Sequence[Cell]) -> None:
        """Count a task that another run in the same folder has done."""
        self._time_left.elsewhere(task)
        self._note(cells, "failed in another run")

    def _note(self, cells: Sequence[Cell], failed: str) -> None:
        self._done += len(cells)
        left = f"{format_seconds(self._time_left.seconds())} left"
        for cell in cells:
            if cell.error:
                self._failed += 1
                label, image, error = map(printable, (cell.label, cell.image, cell.error))
                line = f"{failed}: {label} at {cell.rate:g} on {image}: {error}"  # each part is cut, and none is lost
                self._console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
        self._progress.update(self._bar, completed=self._done, left=left)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last_line > _LINE_EVERY_S or self._done == self._total):
            self._last_line = now
            self._console.print(f"{self._done}/{self._total} cells, {self._failed} failed, {left}", highlight=False)


def format_seconds(seconds: float | None) -> str:
    """Return a duration as people say it: "42 s", "3 min 05 s", "1 h 12 min"."""
    if seconds is None:
        return "unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _kind(task: Task) -> tuple[str, float]:
    return task.cells[0].label, task.cells[0].rate


def _add(times: dict[tuple[str, float], tuple[float, int]], kind: tuple[str, float], seconds: float) -> None:
    total, count = times.get(kind, (0.0, 0))
    times[kind] = (total + seconds, count + 1)
