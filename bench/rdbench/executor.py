"""Worker processes that survive whatever happens in them: a crash, a hang, threads or children that stay behind.

`LaneExecutor` has `concurrent.futures.Executor`'s interface, as a Dask cluster's `Client.get_executor()` has, and
either serves `run.run`. A pool of the standard library breaks as a whole when one worker dies, and cannot stop a
task that hangs; here each lane is a pool of one process, so a death or a time-out is one task's.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import psutil

from rdbench.errors import BenchError
from rdbench.processes import kill_children, kill_tree
from rdbench.scratch import Scratch, remove_if_last, remove_tree, sweep
from rdbench.threads import THREAD_VARIABLES, thread_settings

_UNGUARDED_MARK = "RDBENCH_UNGUARDED_MARK"
"""Environment variable: the file that a worker writes when it finds itself running the script that started it."""
_END_S = 10.0
"""Seconds that a worker has to end by itself when there is no more work."""


class WorkerCrashError(BenchError):
    """The worker process died: the codec crashed it, or the system killed it for its memory."""


class TaskTimeoutError(BenchError):
    """The task ran past its time limit and was stopped, with every process it had started."""


class WorkerStartError(BenchError):
    """Worker processes cannot start at all: the run ends, since every task would fail."""


class LaneExecutor(Executor):
    """Runs tasks in worker processes, one task per worker at a time.

    A task may have an attribute `affinity` (tasks with the same one go to the same worker where that costs no
    waiting) and an attribute `timeout` (seconds).
    """

    def __init__(self, workers: int, *, threads: int = 1, claim: Callable[[Any], bool] | None = None) -> None:
        """Start lanes; their processes start with the first tasks.

        Args:
            workers: number of worker processes.
            threads: number of threads that numerical libraries may use in each.
            claim: asked of each task as a lane takes it; the future of one that it refuses is cancelled.
        """
        self._claim = claim
        self._queues: OrderedDict[Any, deque[_Job]] = OrderedDict()
        self._busy: dict[int, Any] = {}
        self._changed = threading.Condition()
        self._closed = self._aborted = False
        self._pids: dict[int, int] = {}
        self._environment = {name: os.environ.get(name) for name in (*THREAD_VARIABLES, _UNGUARDED_MARK)}
        # The children read these when they load their libraries; libraries already loaded here are not affected.
        os.environ.update(thread_settings(threads))
        sweep()
        # Temporary files of a worker that is killed go with it.
        self._own = Scratch()
        self._scratch = self._own.path
        self._start_error: WorkerStartError | None = None
        self._mark = self._scratch / "unguarded"
        os.environ[_UNGUARDED_MARK] = str(self._mark)
        self._lanes = [threading.Thread(target=self._lane, args=(i,), daemon=True) for i in range(workers)]
        for lane in self._lanes:
            lane.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Queue a call.

        Its future raises `WorkerCrashError` or `TaskTimeoutError` where it comes to that, and `WorkerStartError` where
        no worker can be started.
        """
        task = args[0] if args else None
        job = _Job(fn, args, kwargs, getattr(task, "timeout", None))
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is shut down")
            self._queues.setdefault(getattr(task, "affinity", None), deque()).append(job)
            self._changed.notify()
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop. With `cancel_futures`, tasks that wait are dropped and those that run are killed."""
        with self._changed:
            self._closed = True
            if cancel_futures:
                self._aborted = True
                for queue in self._queues.values():
                    for job in queue:
                        job.future.cancel()
                self._queues.clear()
            self._changed.notify_all()
        if cancel_futures:
            for lane in list(self._pids):
                self._kill(lane)
        if wait:
            for thread in self._lanes:
                thread.join()
            self._own.remove()
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _lane(self, lane: int) -> None:
        pool: ProcessPoolExecutor | None = None
        while (job := self._next(lane)) is not None:
            if not self._is_ours(job):
                continue
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                if self._start_error is not None:
                    raise self._start_error
                if pool is None:
                    pool = self._start(lane)
                if self._aborted:  # the order to stop came while the process was starting
                    self._kill(lane)
                running = pool.submit(job.fn, *job.args, **job.kwargs)
                try:
                    job.future.set_result(running.result(timeout=job.timeout))
                except FutureTimeoutError:
                    if running.done():  # the task itself raised a TimeoutError
                        raise
                    self._kill(lane)
                    message = f"stopped after its time limit of {job.timeout:g} s"
                    raise TaskTimeoutError(message) from None
            except WorkerStartError as error:
                job.future.set_exception(error)
            except BrokenProcessPool:
                self._discard(lane, pool)
                pool = None
                job.future.set_exception(WorkerCrashError("the worker process died while it worked on this"))
            except TaskTimeoutError as error:
                self._discard(lane, pool)
                pool = None
                job.future.set_exception(error)
            except BaseException as error:
                job.future.set_exception(error)
        if pool is not None:
            self._end(lane, pool)

    def _is_ours(self, job: "_Job") -> bool:
        if self._claim is None:
            return True
        try:
            ours = self._claim(job.args[0])
        except BaseException as error:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)
            return False
        if not ours:
            job.future.cancel()
            job.future.set_running_or_notify_cancel()  # tells those who wait for it
        return ours

    def _next(self, lane: int) -> "_Job | None":
        """Wait for work: of this lane's image if there is any, else of one that no other lane works on."""
        with self._changed:
            while True:
                if self._queues:
                    last = self._busy.get(lane)
                    others = [value for key, value in self._busy.items() if key != lane]
                    key = last if last in self._queues else next((k for k in self._queues if k not in others), None)
                    if key not in self._queues:
                        key = next(iter(self._queues))
                    job = self._queues[key].popleft()
                    if not self._queues[key]:
                        del self._queues[key]
                    self._busy[lane] = key
                    return job
                if self._closed:
                    return None
                self._changed.wait()

    def _start(self, lane: int) -> ProcessPoolExecutor:
        # spawn: a fork would copy locks that threads of this process hold
        context = multiprocessing.get_context("spawn")
        folder = self._scratch / str(lane)
        folder.mkdir(exist_ok=True)
        pool = ProcessPoolExecutor(1, mp_context=context, initializer=_set_up_worker, initargs=(folder,))
        try:
            self._pids[lane] = pool.submit(os.getpid).result()
        except BrokenProcessPool:
            pool.shutdown(wait=True, cancel_futures=True)
            self._start_error = WorkerStartError(_why_not_started(self._mark))
            raise self._start_error from None
        return pool

    def _discard(self, lane: int, pool: ProcessPoolExecutor | None) -> None:
        if pool is not None:
            self._end(lane, pool)
        remove_tree(self._scratch / str(lane))

    def _end(self, lane: int, pool: ProcessPoolExecutor) -> None:
        """Let a worker end; what a thread of it prevents from that is killed after a while."""
        patience = threading.Timer(_END_S, self._kill, (lane,))
        patience.daemon = True
        patience.start()
        pool.shutdown(wait=True, cancel_futures=True)
        patience.cancel()
        self._pids.pop(lane, None)

    def _kill(self, lane: int) -> None:
        pid = self._pids.pop(lane, None)
        if pid is not None:
            kill_tree(pid)


def _why_not_started(mark: Path) -> str:
    """Return one line on why worker processes cannot start; `mark` is the file that `leave_if_unguarded` makes."""
    if mark.exists():
        return (
            "a worker process runs this script from its start and would run the experiment again: put what is to "
            'be done once, the call of run() too, under `if __name__ == "__main__":`'
        )
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not Path(script).is_file():
        return (
            f"worker processes must read this program's file, and there is none ('{script}'): save the program in a "
            "file, or give run() an executor"
        )
    return "worker processes cannot start: see the message above, or try `python -m rdbench doctor`"


def leave_if_unguarded() -> None:
    """End this process if it is a worker that is just being started, and has come upon the script that started it.

    A script without a main guard would otherwise run its experiment again in every worker. What is wrong is said by the
    run that started the worker.
    """
    mark = os.environ.get(_UNGUARDED_MARK)
    if mark and getattr(multiprocessing.current_process(), "_inheriting", False):
        with contextlib.suppress(OSError):
            Path(mark).touch()
        os._exit(1)


class _Job:
    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> None:
        self.fn, self.args, self.kwargs, self.timeout = fn, args, kwargs, timeout
        self.future: Future[Any] = Future()


def _set_up_worker(folder: Path) -> None:
    """Leave Ctrl-C to the parent, end with the parent, and keep temporary files in `folder`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    threading.Thread(target=_die_with_parent, args=(folder,), daemon=True).start()


def _die_with_parent(folder: Path) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # also returns when the parent was killed with -9
        kill_children(os.getpid())
        remove_tree(folder)
        remove_if_last(folder.parent)
        psutil.Process().kill()
