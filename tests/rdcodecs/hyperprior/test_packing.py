import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rdcodecs.hyperprior.packing import load_packed, save_packed

_DAMAGE = (OSError, SafetensorError, KeyError, ValueError)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(16, 8, 3, 3, generator=generator).half() / 20
    weights.view(-1)[:4] = torch.tensor([float("inf"), float("nan"), -0.0, 6e-8])
    kernel = torch.randint(-900, 900, (5, 7), generator=generator, dtype=torch.int16)
    return {"weights": weights, "kernel": kernel, "table": torch.tensor([0, 2**31 - 1, -(2**31)], dtype=torch.int32)}


def test_every_bit_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    save_packed(tensors(), path)
    found = load_packed(path)
    assert found.keys() == tensors().keys()
    for name, value in tensors().items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert torch.equal(found[name].view(torch.uint8), value.view(torch.uint8)), name


def test_weights_take_less(tmp_path: Path) -> None:
    weights = {"weights": torch.randn(300_000, generator=torch.Generator().manual_seed(0)).half() / 20}
    save_file(weights, tmp_path / "plain.safetensors")
    save_packed(weights, tmp_path / "packed.safetensors")
    plain, packed = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("plain", "packed"))
    assert packed < 0.9 * plain


def test_plain_tensors_are_read_as_they_are(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "plain.safetensors")
    found = load_packed(tmp_path / "plain.safetensors")
    assert torch.equal(found["kernel"], tensors()["kernel"])


def test_a_kind_that_is_not_packed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the tensor 'w' is of float32: only float16, int16, int32 are packed"):
        save_packed({"w": torch.zeros(2)}, tmp_path / "packed.safetensors")


@pytest.mark.parametrize("shape", [[4, 7], [6, 7], [5, 10**8], [5, 10**9], [10**30], [-5, 7]])
def test_another_length_is_damage(tmp_path: Path, shape: list[int]) -> None:
    path = tmp_path / "packed.safetensors"
    save_packed({"kernel": tensors()["kernel"]}, path)
    save_file(load_file(path), path, metadata={"packed": json.dumps({"kernel": ["int16", *shape]})})
    with pytest.raises(ValueError, match=r"another length|unpacks to more than 4294967296|max_length"):
        load_packed(path)


def test_other_bytes_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "packed.safetensors"
    save_packed(tensors(), path)
    data = path.read_bytes()
    for place in (9, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(_DAMAGE):
            load_packed(path)
    path.write_bytes(data[:-5])
    with pytest.raises(_DAMAGE):
        load_packed(path)
