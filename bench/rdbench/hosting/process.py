"""One codec's process, seen from here: start it, ask it, end it."""

import contextlib
import fcntl
import mmap
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import rdcodecs
from rdbench.hosting.failures import (
    CodecCrashError,
    CodecMemoryError,
    CodecTimeoutError,
    ending,
    raised,
)
from rdbench.hosting.memory import MemoryWatch
from rdbench.processes import kill_tree
from rdbench.scratch import remove_tree
from rdbench.text import error_line
from rdbench.threads import thread_settings
from rdcodecs import Image, wire
from rdcodecs.process import informative_line

SCRIPT = Path(rdcodecs.__file__).resolve().with_name("host.py")
_TAIL = 8192
"""Bytes of what a codec prints that are kept."""
_END_S = 10.0
"""How long a keeper may take to end what it keeps."""


class HostProcess:
    """A host and its keeper. Not for several threads: each has hosts of its own."""

    def __init__(self, folder: Path, *, private: bool, memory: int | None = None, threads: int | None = None) -> None:
        """Start the process; it is not waited for.

        Args:
            folder: an empty folder for its temporary files, removed at the end.
            private: let encode and decode run in a working directory of their own, so that no file there takes
                anything from one to the other; otherwise in this process's.
            memory: bytes that it may use with its children; None for no limit.
            threads: that its libraries may use; None for as many as this process's.
        """
        self.folder = folder
        temporary, calls_in = folder / "tmp", folder / "cwd"
        for place in (temporary, calls_in):
            place.mkdir(parents=True)
        self._incoming = wire.Incoming()
        self._tail = b""
        self._room = 0
        self._map: mmap.mmap | None = None
        self._pixels = _unnamed_file(folder)
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        life, self._life = os.pipe()
        self._output, output = os.pipe()
        passed = (requests, replies, life, self._pixels)
        try:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *map(str, passed)],
                env=os.environ | (thread_settings(threads) if threads is not None else {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C at the terminal is for the run, which knows what to do
            )
        finally:
            for each in (requests, replies, life, output):
                os.close(each)
        for each in (self._requests, self._replies, self._output):
            os.set_blocking(each, False)
        self._watch = MemoryWatch(self._process.pid, memory) if memory is not None else None
        self._ended = False
        # An array, since what has been sent is taken from its front without copying the rest.
        self._queued = bytearray(
            wire.pack(
                {
                    "call": "start",
                    "sys_path": [os.path.abspath(path) for path in sys.path],
                    "directory": os.getcwd(),
                    "calls_in": str(calls_in) if private else os.getcwd(),
                    "temporary": str(temporary),
                }
            )
        )
        self._owed = 1
        """Answers that have not been read: the first is that of the start."""

    def queue(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send a request, as far as it goes without waiting; `answer` waits."""
        self._queued += wire.pack(dict(header), payload)
        self._owed += 1
        self._send()

    def _send(self) -> None:
        """Send as much of what is queued as the pipe takes."""
        while self._queued:
            try:
                del self._queued[: os.write(self._requests, self._queued)]
            except BlockingIOError:
                return
            except BrokenPipeError:  # it is gone, as the next answer will say
                self._queued.clear()

    def ask(
        self, header: Mapping[str, Any], payload: bytes = b"", *, deadline: float, limit_s: float
    ) -> tuple[wire.Header, bytes]:
        """Send a request and wait for its answer.

        Args:
            header: the request.
            payload: bytes that go with it.
            deadline: when to give up, in `time.monotonic`'s seconds.
            limit_s: the time limit that the message names.

        Raises:
            CodecFailureError: the codec raised an error, after which its process lives on; or it ended its process, ran
                past the deadline, or used too much memory.
        """
        self.queue(header, payload)
        return self.answer(str(header["call"]), deadline=deadline, limit_s=limit_s)

    def answer(self, stage: str, *, deadline: float, limit_s: float) -> tuple[wire.Header, bytes]:
        """Wait for the answer to the last request that was queued: see `ask`."""
        while True:
            header, payload = self._next(stage, deadline, limit_s)
            self._owed -= 1
            if "error" in header:
                if self._owed:
                    self.stop()
                raise raised(header["error"])
            if not self._owed:
                return header, payload

    def _next(self, stage: str, deadline: float, limit_s: float) -> tuple[wire.Header, bytes]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            if self._queued:
                selector.register(self._requests, selectors.EVENT_WRITE)
            while True:
                try:
                    message = self._incoming.take()
                except wire.WireError as error:
                    raise self._crash(stage, f"it sent {error}") from error
                if message is not None:
                    if not wire.is_answer(message[0]):
                        raise self._crash(stage, "it sent a line that is no answer")
                    return message
                left = deadline - time.monotonic()
                if left <= 0:
                    self.stop()
                    line = f"TaskTimeoutError: stopped after its time limit of {limit_s:g} s"
                    raise CodecTimeoutError(line, stage=stage)
                if self._watch is not None:
                    left = min(left, self._watch.pause_s)
                    if (used := self._watch.excess()) is not None:
                        self.stop()
                        raise CodecMemoryError(f"CodecMemoryError: {used}", stage=stage)
                for key, _ in selector.select(left):
                    if key.fd == self._requests:
                        self._send()
                        if not self._queued:
                            selector.unregister(self._requests)
                    elif key.fd == self._output:
                        if not self._read_output():  # closed: nothing that it started can print any more
                            selector.unregister(self._output)
                    else:
                        piece = os.read(self._replies, 1 << 20)
                        if not piece:
                            raise self._crash(stage)
                        self._incoming.feed(piece)

    def _read_output(self) -> bool:
        """Take in a piece of what the codec has printed; return whether there was one."""
        try:
            piece = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return False
        self._tail = (self._tail + piece)[-_TAIL:]
        return bool(piece)

    def _crash(self, stage: str, reason: str = "") -> CodecCrashError:
        status = self.stop()
        how = f": {reason}" if reason else f" ({ending(status)})"
        last = informative_line(self._tail.decode("utf-8", errors="replace")) if status != 0 else ""
        said = f"the codec's process ended while it worked on this{how}" + (f": {last}" if last else "")
        return CodecCrashError(error_line("CodecCrashError", said), stage=stage, kind="CodecCrashError", said=said)

    @property
    def alive(self) -> bool:
        """Whether it waits for a request: not where its process is gone, or it has said something unasked."""
        if self._ended or self._owed:
            return False
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            return not selector.select(0)

    def put(self, image: Image) -> int:
        """Put an image where the host finds it; return the room there."""
        self.make_room(image.nbytes)
        assert self._map is not None  # noqa: S101 - for the type checker
        self._map[: image.nbytes] = image.tobytes()
        return self._room

    def make_room(self, size: int) -> int:
        """Make room for an image of so many bytes; return the room there is."""
        if size > self._room:
            self._map = None
            os.ftruncate(self._pixels, size)
            self._room = size
            self._map = mmap.mmap(self._pixels, size)
        return self._room

    def get(self, shape: tuple[int, int, int]) -> Image:
        """Return a copy of the image that the host has put there."""
        assert self._map is not None  # noqa: S101 - for the type checker
        size = shape[0] * shape[1] * shape[2]
        return np.frombuffer(self._map[:size], np.uint8).reshape(shape)

    def stop(self) -> int:
        """End the process with all that it has started; return its exit status, negative for a signal."""
        if not self._ended:
            self._ended = True
            died = self._process.poll() is not None
            os.close(self._requests)
            with contextlib.suppress(OSError):
                os.write(self._life, b"\0")  # said, since a fork of this process may hold the pipe open
            os.close(self._life)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                kill_tree(self._process.pid)
                self._process.wait()
            if died and self._process.returncode < 0:  # perhaps the keeper itself was killed, and has ended nothing
                _kill_strays(self.folder)
            while self._read_output():
                pass
            for each in (self._replies, self._output, self._pixels):
                os.close(each)
            self._map = None
            remove_tree(self.folder)
        return self._process.returncode


def _unnamed_file(folder: Path) -> int:
    """Return a file in memory that has no name, and so is gone with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("rdbench-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # reading what is cut off would be a crash
        return descriptor
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.unlink(name)
    return descriptor


def _kill_strays(folder: Path) -> None:
    """Kill the processes that have a host's temporary folder in their environment, as all have that it has started."""
    mark = os.fsencode(f"TMPDIR={folder / 'tmp'}")
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (each / "environ").read_bytes().split(b"\0"):
                os.kill(int(each.name), signal.SIGKILL)
