import sys
from pathlib import Path

import pytest

from rdcodecs.codec import MissingDependencyError
from rdtrain.core.log import TrainLog, read_log


def test_what_was_logged_beyond_the_step_is_dropped(tmp_path: Path) -> None:
    log = TrainLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.values("train", step, 0.5 * step, {"loss": 1 / step})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "tra')  # as a crash leaves it
    TrainLog(tmp_path, 2).close()
    assert [(line["step"], line["loss"]) for line in read_log(tmp_path)] == [(1, 1.0), (2, 0.5)]


def test_tensorboard_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r'training needs TensorBoard .*: pip install "rdbench\[train\]"'):
        TrainLog(tmp_path, 0)
