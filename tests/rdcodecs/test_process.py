import errno
import os
import signal
import sys
import tempfile
import threading
import time

import pytest

from rdcodecs import CodecError
from rdcodecs.process import ProgramError, ProgramTimeoutError, informative_line, run_program, workspace

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")


class Witness:
    """Tells whether processes live that hold a pipe open, children of children included."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = path
        self._end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.seen = False

    def look(self) -> bool:
        """Whether somebody holds the pipe now."""
        try:
            data = os.read(self._end, 100)
        except BlockingIOError:
            return True
        self.seen = self.seen or bool(data)
        return bool(data)

    def wait_for(self, alive: bool) -> None:
        until = time.monotonic() + 20
        while self.look() != alive:
            assert time.monotonic() < until, f"no process came to be {'alive' if alive else 'dead'}"
            time.sleep(0.01)

    # The shell and its child both hold descriptor 3.
    @property
    def script(self) -> str:
        return f"exec 3>'{self.path}'; echo here >&3; sleep 300 & sleep 300"


@pytest.fixture
def witness(tmp_path):
    return Witness(tmp_path / "witness")


def test_returns_both_outputs():
    assert run_program(["sh", "-c", "echo out; echo err >&2"], timeout=20) == "out\nerr\n"


def test_time_limit_ends_the_whole_group(witness):
    with pytest.raises(ProgramTimeoutError, match=r"^sh ran past its time limit of 0\.5 s$"):
        run_program(["sh", "-c", witness.script], timeout=0.5)
    witness.wait_for(alive=False)
    assert witness.seen


def test_an_interruption_ends_the_whole_group(witness):
    class InterruptError(BaseException):
        pass

    def interrupt(number, frame):
        raise InterruptError

    def when_it_runs():
        witness.wait_for(alive=True)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=when_it_runs)
    try:
        thread.start()
        with pytest.raises(InterruptError):
            run_program(["sh", "-c", witness.script], timeout=60)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    witness.wait_for(alive=False)
    assert witness.seen


def test_a_child_that_outlives_its_parent_is_ended(witness):
    # It has let go of the outputs, so that the call ends with the parent.
    script = f"exec 3>'{witness.path}'; echo here >&3; sleep 300 >/dev/null 2>&1 & exit 0"
    run_program(["sh", "-c", script], timeout=60)
    witness.wait_for(alive=False)
    assert witness.seen


def test_failures_are_one_line(tmp_path):
    with pytest.raises(ProgramError, match=r"^sh failed with exit status 3: ERROR: no such thing$"):
        run_program(["sh", "-c", "echo 'ERROR: no   such thing' >&2; echo bye >&2; exit 3"], timeout=20)
    with pytest.raises(ProgramError, match=r"^sh failed with exit status 1: no message$"):
        run_program(["sh", "-c", "exit 1"], timeout=20)
    with pytest.raises(ProgramError, match=r"^sh crashed \(SIGSEGV\)$"):
        run_program(["sh", "-c", "kill -SEGV $$"], timeout=20)
    with pytest.raises(ProgramError, match=r"^nothing cannot be started: No such file or directory$"):
        run_program([tmp_path / "nothing"], timeout=20)


def test_exit_status_may_be_ignored_but_not_a_crash():
    assert run_program(["sh", "-c", "echo help; exit 1"], timeout=20, any_status=True) == "help\n"
    with pytest.raises(ProgramError, match="SIGSEGV"):
        run_program(["sh", "-c", "kill -SEGV $$"], timeout=20, any_status=True)


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", ""),
        ("\n  \n", ""),
        ("one\ntwo\n\n", "two"),
        ("start\nFirst error\nSecond error\nend\n", "First error"),
        ("[vvc @ 0x55e1f0a1] [dec:vvc @ 0x12ab] Invalid data\nConversion failed!", "Invalid data"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_informative_line(output, line):
    assert informative_line(output) == line


def test_workspace_goes_away_whatever_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def interrupted():
        with workspace("vtm") as folder:
            (folder / "a file").write_bytes(b"x")
            assert list(tmp_path.iterdir()) == [folder]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_codec_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    full = OSError(errno.ENOSPC, "No space left on device", "in.yuv")
    with (
        pytest.raises(CodecError, match=r"vtm: temporary file in\.yuv: No space left on device"),
        workspace("vtm"),
    ):
        raise full
    assert not list(tmp_path.iterdir())


def test_no_temporary_folder_is_a_codec_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(CodecError, match=r"vvenc: temporary file .*missing"), workspace("vvenc"):
        pass
