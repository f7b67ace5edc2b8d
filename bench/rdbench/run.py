"""Run an experiment: plan, skip what is known, measure the rest, write what came of it."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console

from rdbench.datasets import open_dataset
from rdbench.errors import BenchError
from rdbench.executor import LaneExecutor
from rdbench.experiment import Experiment
from rdbench.files import refuse_links_out, sweep_parts
from rdbench.ledger import Cell, DamagedLedgerError, Ledger
from rdbench.measure import Measured, Task, failed, measure
from rdbench.metrics import DerivedMetric, metric_class
from rdbench.outputs import PLOTS, are_there, write_outputs
from rdbench.plan import Plan, make_plan
from rdbench.progress import RunProgress, TimeLeft, format_seconds
from rdbench.provenance import metric_digests, read_provenance
from rdbench.record_writer import read_cells
from rdbench.text import one_line, printable

LEDGER_NAME = "ledger.sqlite"
# Enough that every worker finds an image of its own, few enough that memory does not grow with the dataset.
_WINDOW = 512


@dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
        measured: cells measured now, without those that failed.
        failed: cells that failed now.
        known: cells that were known before.
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
        force: measure again what is known.
        executor: runs the tasks instead of local worker processes (a Dask cluster's `Client.get_executor()`).
        console: where messages go; standard error by default.

    Raises:
        BenchError: the dataset is missing or empty, the folder cannot be written, or no codec can run. What was
            measured before is kept.
    """
    console = console or Console(stderr=True)
    dataset = open_dataset(experiment.dataset)
    items = dataset.items()[: experiment.limit]
    ledger, known = open_ledger(out, console)
    with ledger:
        others = {cell.dataset for cell in known.values()} - {dataset.name}
        if others:
            raise BenchError(
                f"'{out}' holds results on {', '.join(sorted(others))}: give those on {dataset.name} a folder "
                "of their own with --out"
            )
        plan = make_plan(experiment, dataset.name, items, known, keep=out if keep else None, force=force)
        for line in plan.missing:
            console.print(printable(line), style="yellow", markup=False, highlight=False, soft_wrap=True)
        if not plan.codecs and not known:
            raise BenchError("none of the experiment's codecs can run here: see the lines above, or `rdbench doctor`")
        _announce(plan, console)
        started, clock = datetime.now(UTC), time.perf_counter()
        counts = _Counts()
        workers = workers or max(1, (os.cpu_count() or 1) // threads)
        lanes = min(workers, len(plan.tasks))
        if plan.tasks:
            with _executor(executor, lanes, threads) as pool:
                _measure_all(plan, pool, workers, ledger, known, console, counts)
            # From the ledger, since Ctrl-C may come between its commit and any note beside it.
            known = {cell.key: cell for cell in ledger.cells()}
        wall = time.perf_counter() - clock
        result = RunResult(
            measured=counts.measured,
            failed=counts.failed,
            known=plan.known,
            missing=plan.missing,
            interrupted=counts.interrupted,
            wall_s=wall,
            harness_share=1 - counts.useful_s / (wall * lanes) if lanes and executor is None else None,
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
        if not (ledger.is_exported(plan.digest) and are_there(out)):
            write_outputs(out, experiment, dataset.name, known, plan, facts, console=console)
            ledger.set_exported(plan.digest)
    _say_undefined(plan, known, console)
    _conclude(result, out, console)
    return result


def open_ledger(out: Path, console: Console) -> tuple[Ledger, dict[str, Cell]]:
    """Open the ledger of a results folder, making both where they are missing, and read its cells by key.

    A damaged ledger is said, moved aside, and started anew from records.csv; a missing one is filled from there
    too, so that results that came with a clone are not measured again.

    Raises:
        BenchError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the results folder '{out}' ({error.strerror}): choose another --out"
        raise BenchError(message) from error
    if not os.access(out, os.W_OK):
        raise BenchError(f"the results folder '{out}' is not writable: choose another with --out")
    refuse_links_out(out, LEDGER_NAME)
    sweep_parts(out, out / PLOTS)
    path = out / LEDGER_NAME
    try:
        ledger, known = _read_ledger(path)
    except DamagedLedgerError as error:
        aside = path.with_name(f"{LEDGER_NAME}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        path.replace(aside)
        for name in ("-wal", "-shm"):
            path.with_name(LEDGER_NAME + name).unlink(missing_ok=True)
        message = f"{error}: moved to '{aside.name}', starting anew from records.csv"
        console.print(printable(message), style="red", markup=False, soft_wrap=True)
        ledger, known = _read_ledger(path)
    records = out / "records.csv"
    if not known and records.is_file():
        cells = read_cells(records, metric_digests(read_provenance(out / "provenance.json")))
        ledger.put(cells)
        known = {cell.key: cell for cell in cells}
        console.print(f"read {len(known)} known cells from '{printable(records)}'", markup=False, highlight=False)
    return ledger, known


def _read_ledger(path: Path) -> tuple[Ledger, dict[str, Cell]]:
    """Open a ledger and read every row: only that shows that each is what was written."""
    ledger = Ledger(path)
    try:
        return ledger, {cell.key: cell for cell in ledger.cells()}
    except DamagedLedgerError:
        ledger.close()
        raise


class _Counts:
    def __init__(self) -> None:
        self.measured = self.failed = 0
        self.useful_s = 0.0
        self.interrupted = False

    def add(self, measured: Measured) -> None:
        errors = sum(bool(cell.error) for cell in measured.cells)
        self.failed += errors
        self.measured += len(measured.cells) - errors
        self.useful_s += measured.codec_s + measured.metrics_s


@contextlib.contextmanager
def _executor(given: Executor | None, lanes: int, threads: int) -> Iterator[Executor]:
    if given is not None:
        yield given
        return
    pool = LaneExecutor(lanes, threads=threads)
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
    known: Mapping[str, Cell],
    console: Console,
    counts: _Counts,
) -> None:
    """Measure every task; each result is in the ledger before the next is looked at."""
    time_left = TimeLeft(plan.tasks, known.values(), workers)
    total = sum(len(task.cells) for task in plan.tasks)
    with RunProgress(total, time_left, console) as progress:

        def finished(task: Task, measured: Measured) -> None:
            ledger.put(measured.cells)
            progress.done(task, measured)
            counts.add(measured)

        counts.interrupted = _drain(plan.tasks, pool, finished)


def _drain(tasks: Sequence[Task], pool: Executor, finished: Callable[[Task, Measured], None]) -> bool:
    """Hand over every task's result.

    On Ctrl-C, drop what waits and stop what runs, and hand over what was measured until then; a second Ctrl-C is
    raised.

    Returns:
        Whether Ctrl-C ended it.
    """
    waiting: dict[Future[Measured], Task] = {}
    try:
        _drain_all(tasks, waiting, pool, finished)
    except KeyboardInterrupt:
        # Each future, since not every executor can drop them all in shutting down (Dask's cannot).
        for future in waiting:
            future.cancel()
        if isinstance(pool, LaneExecutor):
            pool.shutdown(wait=False, cancel_futures=True)
        # The order may have come just before a result was noted, or in the middle of it. Failures are not taken: an
        # encoder fails when Ctrl-C reaches it too.
        for future, task in waiting.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                measured = future.result()
                good = tuple(cell for cell in measured.cells if not cell.error)
                finished(task, replace(measured, cells=good))
        return True
    return False


def _drain_all(
    tasks: Sequence[Task],
    waiting: dict[Future[Measured], Task],
    pool: Executor,
    finished: Callable[[Task, Measured], None],
) -> None:
    # `concurrent.futures.wait` would hold locks of all futures when Ctrl-C comes, and leave some of them held.
    done: SimpleQueue[Future[Measured]] = SimpleQueue()
    queue = iter(tasks)
    exhausted = False
    while waiting or not exhausted:
        while len(waiting) < _WINDOW and not exhausted:
            task = next(queue, None)
            if task is None:
                exhausted = True
            else:
                future = pool.submit(measure, task)
                waiting[future] = task
                future.add_done_callback(done.put)
        if not waiting:
            break
        future = done.get()
        task = waiting[future]
        try:
            measured = future.result()
        except Exception as error:  # the worker died or was stopped: one task's fault, not the run's
            measured = Measured(failed(task, one_line(error)), 0.0, 0.0, 0.0)
        finished(task, measured)
        del waiting[future]


def _announce(plan: Plan, console: Console) -> None:
    cells = sum(len(task.cells) for task in plan.tasks)
    console.print(
        f"images: {plan.images}, codecs: {len(plan.codecs)}, metrics: {len(plan.metrics)}, "
        f"cells to measure: {cells}, known: {plan.known}",
        highlight=False,
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
            console.print(
                f"{name} is not defined below {low}x{low} pixels: no value for {small} images", style="yellow"
            )


def _conclude(result: RunResult, out: Path, console: Console) -> None:
    what = "interrupted" if result.interrupted else "done"
    share = f", {result.harness_share:.1%} of it beside codecs and metrics" if result.harness_share is not None else ""
    console.print(
        f"{what}: {result.measured} measured, {result.failed} failed, {result.known} known "
        f"({format_seconds(result.wall_s)}{share})",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"results: {printable(out)}", markup=False, highlight=False, soft_wrap=True)
