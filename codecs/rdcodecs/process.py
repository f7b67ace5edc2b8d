"""Run an external program so that nothing of it is left behind: no process, no temporary file."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from rdcodecs.codec import CodecError

_LONGEST_MESSAGE = 200


class ProgramError(Exception):
    """A program could not be started or reported a failure. The message is one line."""


class ProgramTimeoutError(ProgramError):
    """A program ran past its time limit and was killed."""


def run_program(command: Sequence[str | Path], *, timeout: float, any_status: bool = False) -> str:
    """Run a program to its end.

    Whatever ends this call early (the time limit, Ctrl-C, any exception) kills the program and its children.

    Args:
        command: the program and its arguments.
        timeout: seconds until it is killed.
        any_status: take every exit status for success (some programs print their help and report failure).

    Returns:
        What it wrote to standard output and standard error, in that order.

    Raises:
        ProgramTimeoutError: it ran past the time limit.
        ProgramError: it cannot be started, exited with an error, or crashed.
    """
    name = Path(command[0]).name
    launch = _Launch(command)
    try:
        process = launch.process()
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ProgramTimeoutError(f"{name} ran past its time limit of {timeout:g} s") from None
    finally:
        launch.end()
    out, err = (stream.decode("utf-8", errors="replace") for stream in (stdout, stderr))
    if process.returncode < 0:
        raise ProgramError(f"{name} crashed ({signal_name(-process.returncode)})")
    if process.returncode and not any_status:
        reason = informative_line(err) or informative_line(out) or "no message"
        raise ProgramError(f"{name} failed with exit status {process.returncode}: {reason}")
    return out + err


def informative_line(output: str) -> str:
    """Return the line of a program's output that best says what went wrong.

    That is the first one that names an error (what follows is mostly its consequence), or else the last one
    that is not blank, or else the empty string. Memory addresses, which differ from run to run, are left out.
    """
    lines = [" ".join(re.sub(r"\[[^][]* @ 0x[0-9a-f]+\]", "", line).split()) for line in output.splitlines()]
    lines = [line for line in lines if line]
    errors = (line for line in lines if re.search(r"error|invalid|not found", line, re.IGNORECASE))
    return next(errors, lines[-1] if lines else "")[:_LONGEST_MESSAGE]


@contextlib.contextmanager
def workspace(codec: str) -> Iterator[Path]:
    """Lend a temporary folder, removed at the end whatever happens.

    Raises:
        CodecError: its files cannot be written or read (the disk is full, say).
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f"rdbench-{codec}-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        where = error.filename or tempfile.gettempdir()
        raise CodecError(f"{codec}: temporary file {where}: {error.strerror or error}") from error


class _Launch:
    """Starts a program, and can end it at any moment, even while it is being started.

    An exception from a signal handler (Ctrl-C) reaches the main thread only. In the midst of `Popen` it would
    leave a running process that nobody knows, hence another thread does that part.
    """

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._command = [os.fspath(part) for part in command]
        self._lock = threading.Lock()
        self._ended = False
        self._started: Future[subprocess.Popen[bytes]] = Future()

    def process(self) -> "subprocess.Popen[bytes]":
        """Start the program and return it, or raise `ProgramError`."""
        threading.Thread(target=self._start, daemon=True).start()
        try:
            return self._started.result()
        except OSError as error:
            name = Path(self._command[0]).name
            raise ProgramError(f"{name} cannot be started: {error.strerror}") from error

    def end(self) -> None:
        """End the program with its children. If it has not been started, it will not be."""
        with self._lock:
            self._ended = True
        if self._started.done() and self._started.exception() is None:
            _kill_group(self._started.result())

    def _start(self) -> None:
        with self._lock:
            if self._ended:
                return
            try:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    # A group of its own, so that one signal reaches the children too.
                    start_new_session=True,
                )
            except Exception as error:
                self._started.set_exception(error)
            else:
                self._started.set_result(process)


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """End what is left of a program and of its children, and collect its exit status."""
    if sys.platform == "win32":
        process.kill()
    else:
        # The group outlives its leader where a child does; it is gone where nothing is left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def signal_name(number: int) -> str:
    """Return what a signal is called, "SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
