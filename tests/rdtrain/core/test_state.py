from pathlib import Path

import pytest
import torch

from rdtrain.core.errors import TrainingError
from rdtrain.core.state import (
    State,
    latest_state,
    load_module,
    load_optimizer,
    load_state,
    module_tensors,
    optimizer_tensors,
    save_state,
)


def a_state(step: int) -> State:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        "large": torch.randn(300, 400, generator=generator),
        "turned": torch.randn(4, 3, 5, 5, generator=generator).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7.0),
        "flag": torch.tensor(True),
        "empty": torch.zeros(0, 3),
    }
    return State(step, {"seconds": 1.5, "data": "abc"}, tensors)


def assert_same(one: State, other: State) -> None:
    assert one.step == other.step
    assert one.facts == other.facts
    assert one.tensors.keys() == other.tensors.keys()
    for name, value in one.tensors.items():
        assert torch.equal(value, other.tensors[name]), name
        assert value.dtype == other.tensors[name].dtype


@pytest.mark.parametrize("shard_mib", [512, 0.1])
def test_a_state_comes_back_whole(tmp_path: Path, shard_mib: float) -> None:
    state = a_state(3)
    folder = save_state(tmp_path, state, shard_mib=shard_mib)
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert_same(state, loaded)
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    assert len(sizes) == (1 if shard_mib == 512 else 5)
    assert max(sizes) < shard_mib * 2**20 + 4096  # names and shapes come on top


def test_nothing_is_a_pickle(tmp_path: Path) -> None:
    folder = save_state(tmp_path, a_state(1))
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}


def test_the_latest_states_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 30):
        save_state(tmp_path, a_state(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state-0000000002", "state-0000000030"]
    loaded = load_state(tmp_path)
    assert loaded is not None
    assert loaded.step == 30


def test_a_state_whose_writing_was_cut_short_does_not_count(tmp_path: Path) -> None:
    save_state(tmp_path, a_state(1))
    partial = tmp_path / ".state-0000000002.partial"
    partial.mkdir()
    (partial / "0000.safetensors").write_bytes(b"half")
    assert latest_state(tmp_path) == tmp_path / "state-0000000001"
    save_state(tmp_path, a_state(2))
    assert not partial.exists()


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    assert load_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", ["0000.safetensors", "state.json"])
def test_a_damaged_state_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    path = save_state(tmp_path, a_state(1)) / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TrainingError, match="state-0000000001' is damaged") as error:
        load_state(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"{" * 100_000,
        b'{"format": "\xff"}',
        b'{"format": 1}',
        b'{"format": [], "shards": 7}',
        b'{"format": 1, "shards": 7}',
        b'{"format": 1, "shards": ["../0000.safetensors"], "shapes": {}, "step": 1, "facts": {}}',
        b'{"format": 1, "shards": [7], "shapes": {}, "step": 1, "facts": {}}',
        b'{"format": 1, "shards": [], "shapes": [], "step": 1, "facts": {}}',
        b'{"format": 1, "shards": [], "shapes": {"x": [1]}, "step": 1, "facts": {}}',
        b'{"format": 1, "shards": ["0000.safetensors"], "shapes": {"w": "a"}, "step": 1, "facts": {}}',
        b'{"format": 1, "shards": [], "shapes": {}, "step": -1, "facts": {}}',
        b'{"format": 1, "shards": [], "shapes": {}, "step": "1", "facts": {}}',
        b'{"format": 1, "shards": [], "shapes": {}, "step": 1, "facts": []}',
    ],
)
def test_a_state_of_odd_content_is_said_in_one_line(tmp_path: Path, index: bytes) -> None:
    (save_state(tmp_path, a_state(1)) / "state.json").write_bytes(index)
    with pytest.raises(TrainingError, match="state-0000000001'") as error:
        load_state(tmp_path)
    assert "\n" not in str(error.value)


def test_an_optimizer_goes_on_exactly() -> None:
    def begin() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 3)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    def step(layer: torch.nn.Linear, optimizer: torch.optim.AdamW, number: int) -> None:
        inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(number))
        layer(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    layer, optimizer = begin()
    for number in range(3):
        step(layer, optimizer, number)
    tensors = module_tensors("model", layer) | optimizer_tensors("optimizer", optimizer)
    tensors = {name: value.clone() for name, value in tensors.items()}
    other_layer, other_optimizer = begin()
    load_module("model", other_layer, tensors)
    load_optimizer("optimizer", other_optimizer, tensors)
    for number in range(3, 6):
        step(layer, optimizer, number)
        step(other_layer, other_optimizer, number)
    assert torch.equal(layer.weight, other_layer.weight)
    assert torch.equal(layer.bias, other_layer.bias)
