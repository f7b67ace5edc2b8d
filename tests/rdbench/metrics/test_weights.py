import hashlib

import pytest

from rdbench.metrics import MetricUnavailableError
from rdbench.metrics.weights import checkpoints_folder, published_hash, verify

CONTENT = b"trained weights"
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


def test_damaged_file(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(MetricUnavailableError, match=rf"{NAME} is damaged .* delete it and get it again"):
        verify(path, published_hash(NAME))
    path.write_bytes(CONTENT)
    verify(path, published_hash(NAME))


def test_unreadable_file(tmp_path):
    with pytest.raises(MetricUnavailableError, match=r"gone.pth cannot be read: No such file or directory"):
        verify(tmp_path / "gone.pth", "00")


@pytest.mark.parametrize("variables", [{"TORCH_HOME": "/a"}, {"XDG_CACHE_HOME": "/b"}, {}, {"TORCH_HOME": "~/c"}])
def test_folder_is_torchs(monkeypatch, variables):
    import os

    import torch

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(checkpoints_folder()) == os.path.join(torch.hub.get_dir(), "checkpoints")


def test_hash_in_a_name():
    assert published_hash("alexnet-owt-7be5be79.pth") == "7be5be79"
    with pytest.raises(ValueError, match=r"'alexnet.pth' is not named as torch hub files are"):
        published_hash("alexnet.pth")
