import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from rdcodecs.tensor_file import save_tensors
from rdtrain.core.loop import Budget
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.export import export_autoencoder
from rdtrain.prior.settings import PRESETS
from small_codecs import hyperprior_training


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def usual() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o640
    os.umask(before)


def test_tensors_come_back_with_their_metadata(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_tensors({"a": torch.arange(3)}, path, {"format": "pt"})
    assert torch.equal(load_file(path)["a"], torch.arange(3))
    with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
        assert file.metadata() == {"format": "pt"}
    assert [item.name for item in tmp_path.iterdir()] == ["some.safetensors"]


def test_others_may_read_what_a_training_writes(tmp_path: Path, usual: int) -> None:
    hyperprior_training(tmp_path / "run").train(Budget(steps=1))
    written = [path for path in (tmp_path / "run").rglob("*") if path.suffix in (".safetensors", ".json")]
    assert {path.suffix for path in written} == {".safetensors", ".json"}
    assert {rights(path) for path in written} == {usual}


def test_others_may_read_what_diffusers_writes_for_us(tmp_path: Path, usual: int) -> None:
    export_autoencoder(make_autoencoder(PRESETS["micro"].autoencoder), tmp_path)
    written = {path.name: rights(path) for path in (tmp_path / "vae").iterdir()}
    assert written == {"config.json": usual, "diffusion_pytorch_model.safetensors": usual}
