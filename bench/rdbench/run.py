"""Run an experiment: plan, skip what is known, measure the rest, write what came of it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from rich.console import Console

from rdbench.cell import Cell, best_by_key
from rdbench.datasets import open_dataset
from rdbench.dividing import Division, State
from rdbench.errors import BenchError
from rdbench.executor import LaneExecutor, WorkerStartError, leave_if_unguarded
from rdbench.experiment import Experiment
from rdbench.ledger import Ledger
from rdbench.locking import SignalsHeldBack, folder_lock
from rdbench.measure import UNREPEATABLE, Measured, Task, failed, measure
from rdbench.messages import run_console, say, warn
from rdbench.metrics import DerivedMetric, metric_class
from rdbench.opening import noted_shown, open_ledger
from rdbench.outputs import is_written, write_outputs
from rdbench.plan import Plan, make_plan
from rdbench.progress import RunProgress, TimeLeft, format_seconds
from rdbench.selection import Selection, hidden_rows
from rdbench.text import counted, one_line

# Enough that every worker finds an image of its own, few enough that memory does not grow with the dataset.
_WINDOW = 512
_POLL_S = 0.5
"""How often is looked after tasks that another run holds."""


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        measured: cells measured now, without those that failed.
        failed: cells that failed now, also where what was measured before stays.
        known: cells that were known before, or that another run in the same folder has measured meanwhile.
        missing: one line for each codec or metric that was left out.
        interrupted: whether Ctrl-C ended it early.
        wall_s: wall-clock seconds of the measuring.
        harness_share: share of the workers' wall-clock time, their start and idle time included, that went neither
            into codecs nor into metrics, 0 to 1; None where nothing was measured, or not by workers of this run.
    """

    measured: int
    failed: int
    known: int
    missing: Sequence[str]
    interrupted: bool
    wall_s: float
    harness_share: float | None


def run(
    experiment: Experiment,
    out: Path,
    *,
    workers: int | None = None,
    threads: int = 1,
    keep: bool = False,
    force: bool = False,
    memory: int | None = None,
    executor: Executor | None = None,
    console: Console | None = None,
) -> RunResult:
    """Measure what an experiment asks for and is not known yet, and write the results folder.

    Args:
        experiment: what to measure.
        out: the results folder; made where it is missing.
        workers: number of worker processes; by default as many as the processors have room for.
        threads: threads that numerical libraries may use in each worker. Times depend on it.
        keep: keep bitstreams and reconstructions. A later run decodes kept bitstreams instead of encoding again.
        force: measure again what has been measured.
        memory: bytes that a codec's process may use with its children; None for no limit.
        executor: runs the tasks instead of local worker processes (a Dask cluster's `Client.get_executor()`).
        console: where messages go; standard error by default.

    Raises:
        BenchError: the dataset is missing or empty, the folder cannot be written, or no codec can run. What was
            measured before is kept.
    """
    leave_if_unguarded()
    console = console or run_console()
    dataset = open_dataset(experiment.dataset)
    items = dataset.items()[: experiment.limit]
    ledger, rows = open_ledger(out, console)
    with ledger:
        since = rows[-1].revision if rows else 0
        cells = [row.cell for row in rows]
        known = best_by_key(cells)
        plan = make_plan(experiment, dataset.name, items, known, keep=out if keep else None, force=force, memory=memory)
        _refuse_other_images(out, cells, dataset.name, plan)
        for line in plan.missing:
            warn(console, line)
        if not plan.codecs and not known:
            raise BenchError("none of the experiment's codecs can run here: see the lines above, or `rdbench doctor`")
        _announce(plan, console)
        started, clock = datetime.now(UTC), time.perf_counter()
        counts = _Counts()
        workers = workers or max(1, (os.cpu_count() or 1) // threads)
        lanes = min(workers, len(plan.tasks))
        if plan.tasks:
            with Division(ledger.path, since, plan.metric_digests) as division:
                claim = division.claim if executor is None else None
                with _executor(executor, lanes, threads, claim) as pool:
                    _measure_all(plan, pool, workers, ledger, division, known, console, counts)
        wall = time.perf_counter() - clock
        result = RunResult(
            measured=counts.measured,
            failed=counts.failed,
            known=plan.known + counts.elsewhere,
            missing=plan.missing,
            interrupted=counts.interrupted,
            wall_s=wall,
            harness_share=_harness_share(counts, wall, lanes) if executor is None else None,
        )
        facts = {
            "started": started.isoformat(timespec="seconds"),
            "wall_s": round(wall, 3),
            "workers": workers,
            "threads": threads,
            "measured": result.measured,
            "failed": result.failed,
            "known": result.known,
            "images": plan.images,
        }
        # Before the first cell there is nothing to write: what is there stays as it is.
        begun = len(ledger) > 0 or not counts.interrupted
        if begun and not is_written(out, ledger, plan.digest):
            with folder_lock(out, console), SignalsHeldBack() as signals:
                cells = write_outputs(out, experiment, dataset.name, ledger, plan, facts, console=console)
            result = replace(result, interrupted=result.interrupted or signals.came)
        hidden = hidden_rows(Selection(cells, noted_shown(ledger)), plan.image_names)
    if hidden:
        warn(console, hidden)
    _say_undefined(plan, best_by_key(cells), console)
    _say_unrepeatable(counts.unrepeatable, console)
    _conclude(result, counts, out, console)
    return result


def _refuse_other_images(out: Path, cells: Sequence[Cell], dataset: str, plan: Plan) -> None:
    """Keep what a folder shows of other images from being replaced.

    Raises:
        BenchError: the folder shows results on other datasets, and holds none on the planned images.
    """
    shown = [cell for cell in cells if cell.in_tables]
    others = {cell.dataset for cell in shown} - {dataset}
    if others and not any(cell.image_hash in plan.image_names for cell in cells):
        raise BenchError(
            f"'{out}' holds results on {', '.join(sorted(others))}: give those on {dataset} a folder "
            "of their own with --out"
        )


def _harness_share(counts: "_Counts", wall: float, lanes: int) -> float | None:
    busy = (wall - counts.waited_s) * lanes
    return 1 - counts.useful_s / busy if counts.measured + counts.failed and busy > 0 else None


class _Counts:
    def __init__(self) -> None:
        self.measured = self.failed = self.kept = self.elsewhere = 0
        self.useful_s = self.waited_s = 0.0
        self.interrupted = False
        self.unrepeatable: set[str] = set()

    def add(self, measured: Measured, kept: int) -> None:
        self.kept += kept
        self.unrepeatable |= {cell.label for cell in measured.cells if cell.error.startswith(UNREPEATABLE)}
        errors = sum(bool(cell.error) for cell in measured.cells)
        self.failed += errors
        self.measured += len(measured.cells) - errors
        self.useful_s += measured.codec_s + measured.metrics_s

    def add_elsewhere(self, cells: Sequence[Cell]) -> None:
        errors = sum(bool(cell.error) for cell in cells)
        self.failed += errors
        self.elsewhere += len(cells) - errors


@contextlib.contextmanager
def _executor(
    given: Executor | None, lanes: int, threads: int, claim: Callable[[Task], bool] | None
) -> Iterator[Executor]:
    if given is not None:
        yield given
        return
    pool = LaneExecutor(lanes, threads=threads, claim=claim)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _measure_all(
    plan: Plan,
    pool: Executor,
    workers: int,
    ledger: Ledger,
    division: Division,
    known: Mapping[str, Cell],
    console: Console,
    counts: _Counts,
) -> None:
    """Measure every task; each result is in the ledger before the next is looked at."""
    time_left = TimeLeft(plan.tasks, known.values(), workers)
    total = sum(len(task.cells) for task in plan.tasks)
    labels: dict[str, list[Cell]] = {}
    for cell in plan.planned:
        labels.setdefault(cell.key, []).append(cell)
    with RunProgress(total, time_left, console) as progress:

        def finished(task: Task, measured: Measured) -> None:
            put = ledger.put(_named(cell, plan) for cell in measured.cells for plan in labels[cell.key])
            division.release(task)
            progress.done(task, measured)
            counts.add(measured, len({cell.key for cell in put.kept}))
            for line in put.lost:
                warn(console, line)

        def elsewhere(task: Task, cells: Sequence[Cell]) -> None:
            progress.elsewhere(task, cells)
            counts.add_elsewhere(cells)

        work = _Work(plan.tasks, pool, division, finished, elsewhere, console)
        counts.interrupted = work.drain()
        counts.waited_s = work.waited_s


def _named(cell: Cell, plan: Cell) -> Cell:
    """Return what was measured of a cell as the row of one of the labels that ask for it."""
    return replace(cell, label=plan.label, codec=plan.codec, codec_options=plan.codec_options)


class _Work:
    """The tasks of a run, from the first submitted to the last one that another run had."""

    def __init__(
        self,
        tasks: Sequence[Task],
        pool: Executor,
        division: Division,
        finished: Callable[[Task, Measured], None],
        elsewhere: Callable[[Task, Sequence[Cell]], None],
        console: Console,
    ) -> None:
        self.waited_s = 0.0
        self._pool = pool
        self._division = division
        self._finished = finished
        self._elsewhere = elsewhere
        self._console = console
        self._left = iter(tasks)
        self._again: list[Task] = []
        self._held: list[Task] = []
        self._waiting: dict[Future[Measured], Task] = {}
        # `concurrent.futures.wait` would hold locks of all futures when Ctrl-C comes, and leave some of them held.
        self._done: SimpleQueue[Future[Measured]] = SimpleQueue()
        self._next_look = 0.0

    def drain(self) -> bool:
        """Hand over every task's result.

        On Ctrl-C, drop what waits and stop what runs, and hand over what was measured until then; a second Ctrl-C is
        raised.

        Returns:
            Whether Ctrl-C ended it.
        """
        try:
            self._drain_all()
        except KeyboardInterrupt:
            # Each future, since not every executor can drop them all in shutting down (Dask's cannot).
            for future in self._waiting:
                future.cancel()
            if isinstance(self._pool, LaneExecutor):
                self._pool.shutdown(wait=False, cancel_futures=True)
            # The order may have come just before a result was noted, or in the middle of it. Failures are not taken:
            # an encoder fails when Ctrl-C reaches it too.
            for future, task in self._waiting.items():
                if future.done() and not future.cancelled() and future.exception() is None:
                    measured = future.result()
                    good = tuple(cell for cell in measured.cells if not cell.error)
                    self._finished(task, replace(measured, cells=good))
            return True
        return False

    def _drain_all(self) -> None:
        said = False
        while True:
            more = self._submit()
            if self._held and not more:
                self._look()
            if self._waiting:
                with contextlib.suppress(Empty):
                    self._take(self._done.get(timeout=_POLL_S if self._held else None))
            elif self._held:
                if not said:
                    warn(self._console, f"waiting for another run, which works on {len(self._held)} of these tasks")
                    said = True
                time.sleep(_POLL_S)
                self.waited_s += _POLL_S
            elif not more and not self._again:
                return

    def _submit(self) -> bool:
        """Keep the executor busy. Returns whether there is more than it takes now."""
        while len(self._waiting) < _WINDOW:
            task = self._again.pop() if self._again else next(self._left, None)
            if task is None:
                return False
            # The local executor asks for itself, when a worker is free.
            if not isinstance(self._pool, LaneExecutor) and not self._division.claim(task):
                self._held.append(task)
                continue
            future = self._pool.submit(measure, task)
            self._waiting[future] = task
            future.add_done_callback(self._done.put)
        return True

    def _look(self) -> None:
        """See what has become of the tasks that another run had; try again for those that nobody has now."""
        if time.monotonic() < self._next_look:
            return
        held, self._held = self._held, []
        for task in held:
            state = self._division.state(task)
            if state is State.DONE:
                self._elsewhere(task, self._division.outcome(task))
            else:
                (self._held if state is State.HELD else self._again).append(task)
        self._next_look = time.monotonic() + _POLL_S

    def _take(self, future: "Future[Measured]") -> None:
        task = self._waiting[future]
        try:
            measured = future.result()
        except WorkerStartError:
            raise
        except CancelledError:  # another run had it
            del self._waiting[future]
            self._held.append(task)
            return
        except Exception as error:  # the worker died or was stopped: one task's fault, not the run's
            measured = Measured(failed(task, one_line(error)), 0.0, 0.0, 0.0)
        self._finished(task, measured)
        del self._waiting[future]


def _announce(plan: Plan, console: Console) -> None:
    cells = sum(len(task.cells) for task in plan.tasks)
    say(
        console,
        f"images: {plan.images}, codecs: {len(plan.codecs)}, metrics: {len(plan.metrics)}, "
        f"cells to measure: {cells}, known: {plan.known}",
    )


def _say_undefined(plan: Plan, known: Mapping[str, Cell], console: Console) -> None:
    """Say which metrics have no value for images that are too small for them."""
    sides: dict[str, int] = {}
    for planned in plan.planned:
        cell = known.get(planned.key)
        if cell is not None and cell.width is not None and cell.height is not None:
            sides[cell.image] = min(cell.width, cell.height)
    for name in plan.metrics:
        cls = metric_class(name)
        low = 0 if issubclass(cls, DerivedMetric) else cls.min_side
        small = sum(side < low for side in sides.values())
        if small:
            warn(console, f"{name} is not defined below {low}x{low} pixels: no value for {counted(small, 'image')}")


def _say_unrepeatable(labels: Iterable[str], console: Console) -> None:
    for label in sorted(labels):
        say(
            console,
            f"{label} decodes the same bytes to different images: its other figures are those of one decode each; "
            "seed what is random in it from the bytes",
            "red",
        )


def _conclude(result: RunResult, counts: _Counts, out: Path, console: Console) -> None:
    what = "interrupted" if result.interrupted else "done"
    share = f", {result.harness_share:.1%} of it beside codecs and metrics" if result.harness_share is not None else ""
    say(
        console,
        f"{what}: {result.measured} measured, {result.failed} failed, {result.known} known "
        f"({format_seconds(result.wall_s)}{share})",
    )
    if counts.kept:
        failures = f"{counted(counts.kept, 'failure')} {'is' if counts.kept == 1 else 'are'}"
        warn(console, f"{failures} of cells that had been measured before: those rows stay as they were")
    say(console, f"results: {out}")
