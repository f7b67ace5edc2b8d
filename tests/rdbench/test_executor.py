import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import CancelledError
from pathlib import Path

import psutil
import pytest

from rdbench.executor import LaneExecutor, TaskTimeoutError, WorkerCrashError
from worker_functions import Work, do, start_child_and_hang, threads_of_libraries, wait_for_start


def test_results_come_back_and_run_in_other_processes() -> None:
    with LaneExecutor(2) as pool:
        pids = {future.result() for future in [pool.submit(do, Work(str(i % 2), seconds=0.2)) for i in range(4)]}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_tasks_of_one_image_stay_on_one_worker(tmp_path: Path) -> None:
    with LaneExecutor(2) as pool:
        for name in ("x", "y"):  # both lanes are up and busy until everything is queued
            pool.submit(wait_for_start, Work(name), str(tmp_path))
        futures = {name: [pool.submit(do, Work(name, seconds=0.2)) for _ in range(6)] for name in "ab"}
        pids = {name: {future.result() for future in some} for name, some in futures.items()}
    assert len(pids["a"]) == len(pids["b"]) == 1
    assert pids["a"] != pids["b"]


def test_a_crash_is_one_tasks_and_the_lane_goes_on() -> None:
    with LaneExecutor(1) as pool:
        before = pool.submit(do, Work())
        crash = pool.submit(do, Work(status=9))
        after = pool.submit(do, Work())
        assert isinstance(before.result(), int)
        with pytest.raises(WorkerCrashError, match="the worker process died"):
            crash.result()
        assert isinstance(after.result(), int)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which every temporary file of a test lands."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_a_hang_is_stopped_with_the_programs_and_files_it_left(tmp_path: Path, scratch: Path) -> None:
    with LaneExecutor(1) as pool:
        pool.submit(do, Work()).result()  # the start of the process does not count
        hang = pool.submit(start_child_and_hang, Work(timeout=1.0), str(tmp_path / "pid"))
        after = pool.submit(do, Work())
        with pytest.raises(TaskTimeoutError, match=r"stopped after its time limit of 1 s"):
            hang.result()
        assert isinstance(after.result(), int)
        assert not list(scratch.rglob("leftover"))
    _assert_gone(int((tmp_path / "pid").read_text()))
    assert not list(scratch.iterdir())


def test_cancelling_stops_what_runs_and_drops_what_waits(tmp_path: Path) -> None:
    pool = LaneExecutor(1)
    running = pool.submit(start_child_and_hang, Work(), str(tmp_path / "pid"))
    waiting = pool.submit(do, Work())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    pool.shutdown(cancel_futures=True)
    with pytest.raises(WorkerCrashError):
        running.result()
    with pytest.raises(CancelledError):
        waiting.result()
    _assert_gone(int((tmp_path / "pid").read_text()))
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(do, Work())


def test_libraries_get_the_threads_they_are_given_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with LaneExecutor(1, threads=3) as pool:
        assert pool.submit(threads_of_libraries, Work()).result() == ["3", "3"]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, scratch: Path) -> None:
    code = (
        "import sys, threading\n"
        "from rdbench.executor import LaneExecutor\n"
        "from worker_functions import Work, start_child_and_hang\n"
        "if __name__ == '__main__':\n"
        "    LaneExecutor(1).submit(start_child_and_hang, Work(), sys.argv[1])\n"
        "    threading.Event().wait()"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, str(script), str(tmp_path / "pid")], env=environment) as parent:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    _, alive = psutil.wait_procs([w for w in workers if "resource_tracker" not in " ".join(_command(w))], timeout=30)
    assert not alive
    assert not list(scratch.iterdir())


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _assert_gone(pid: int) -> None:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    _, alive = psutil.wait_procs([process], timeout=10)  # it is not our child: how it ended is not told
    assert all(each.status() == psutil.STATUS_ZOMBIE for each in alive)


def test_a_program_from_standard_input_is_told_to_be_saved_in_a_file() -> None:
    program = (
        "from rdbench.executor import LaneExecutor\nfrom worker_functions import Work, do\n"
        "with LaneExecutor(1) as pool:\n    print(pool.submit(do, Work('a')).exception())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable], input=program, capture_output=True, text=True, timeout=60, env=environment)
    assert "there is none ('<stdin>'): save the program in a file" in done.stdout
