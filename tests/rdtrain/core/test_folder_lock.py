import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from rdtrain.core.errors import TrainingError
from rdtrain.core.folder_lock import lock_folder
from rdtrain.core.loop import Budget, Outcome
from small_codecs import hyperprior_training

HOLD = """
import sys, time
from pathlib import Path
from rdtrain.core.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_and_free_after_that(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "stage-1"
    for _ in range(2):
        with (
            lock_folder(folder),
            pytest.raises(TrainingError, match="another training is at work in"),
            lock_folder(folder),
        ):
            pass


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(TrainingError, match="another training"), lock_folder(tmp_path):
                pass
        finally:
            other.kill()
    with lock_folder(tmp_path):
        pass


def test_a_second_training_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    training = hyperprior_training(tmp_path)
    assert training.train(Budget(steps=1)) is Outcome.FINISHED
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with lock_folder(tmp_path / "stage-1"), pytest.raises(TrainingError, match="another training"):
        training.train(Budget(steps=2))
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    lock = tmp_path / "stage-1" / ".lock"
    assert before.keys() - {lock} == after.keys() - {lock}
    assert all(before[path] == after[path] for path in before.keys() - {lock})
    assert training.train(Budget(steps=2)) is Outcome.FINISHED


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_holds_nothing(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with lock_folder(tmp_path), lock_folder(tmp_path):
        pass
