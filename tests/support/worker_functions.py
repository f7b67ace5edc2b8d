"""Functions for worker processes: these are fresh interpreters and import them by name."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Work:
    affinity: str = ""
    timeout: float | None = None
    seconds: float = 0.0
    status: int | None = None


def do(work: Work) -> int:
    if work.status is not None:
        os._exit(work.status)
    time.sleep(work.seconds)
    return os.getpid()


def start_child_and_hang(work: Work, pid_file: str) -> None:
    Path(tempfile.mkdtemp(), "leftover").write_text("x")
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(pid_file).write_text(str(child.pid))
    time.sleep(600)


def threads_of_libraries(_: Work) -> list[str]:
    return [os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]


def wait_for_start(work: Work, folder: str) -> None:
    """Come back when two workers are here."""
    Path(folder, work.affinity).touch()
    while len(list(Path(folder).iterdir())) < 2:
        time.sleep(0.01)
