"""Training state on disk: safetensors and JSON, whole or not there at all, never a pickle."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from rdcodecs.reading import read_json, reason_of
from rdcodecs.tensor_file import save_tensors
from rdtrain.core.errors import TrainingError

_NAME = re.compile(r"state-(\d{10})")
_INDEX = "state.json"
_FORMAT = 1


@dataclass(frozen=True)
class State:
    """What is needed to go on exactly.

    Attributes:
        step: the steps done.
        facts: seconds spent and the like (JSON-able).
        tensors: weights, their average, the optimiser's moments, by name.
    """

    step: int
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def save_state(folder: Path, state: State, *, shard_mib: float = 512, keep: int = 2) -> Path:
    """Write a state so that a crash at any moment leaves the earlier ones intact.

    Args:
        folder: that holds the states; made where it is not there.
        state: what to write.
        shard_mib: largest size of a file, in MiB; a tensor larger than that has a file of its own, cut in
            pieces.
        keep: how many states are left in the folder.

    Returns:
        The folder of the state written.
    """
    target = folder / f"state-{state.step:010d}"
    partial = folder / f".{target.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    shards = []
    for number, tensors in enumerate(_shards(state.tensors, shard_mib)):
        shards.append(f"{number:04d}.safetensors")
        save_tensors(tensors, partial / shards[-1])
        _flush(partial / shards[-1])
    shapes = {name: list(tensor.shape) for name, tensor in state.tensors.items()}
    index = {"format": _FORMAT, "step": state.step, "facts": dict(state.facts), "shards": shards, "shapes": shapes}
    (partial / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    _flush(partial / _INDEX)
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
    _flush(folder)
    for old in _found(folder)[:-keep]:
        shutil.rmtree(old)
    return target


def load_state(folder: Path, device: torch.device | str = "cpu") -> State | None:
    """Read the latest state, or return `None` where there is none.

    Raises:
        TrainingError: it is damaged.
    """
    latest = latest_state(folder)
    if latest is None:
        return None
    pieces: dict[str, list[Tensor]] = {}
    try:
        index = read_json(latest / _INDEX, ValueError)
        if index["format"] != _FORMAT:
            raise TrainingError(f"'{latest}' is of format {index['format']}, which this version does not read")
        for shard in index["shards"]:
            if Path(shard).name != shard:
                raise ValueError(f"its {_INDEX} names {shard!r}, which is no file beside it")
            with safe_open(latest / shard, framework="pt", device=str(device)) as file:
                for key in sorted(file.keys()):
                    pieces.setdefault(key.rpartition("#")[0], []).append(file.get_tensor(key))
        tensors = {name: torch.cat(pieces[name]).reshape(shape) for name, shape in index["shapes"].items()}
        step, facts = index["step"], index["facts"]
        if isinstance(step, bool) or not isinstance(step, int) or step < 0 or not isinstance(facts, dict):
            raise ValueError(f"its {_INDEX} has no steps and facts")
        return State(step, facts, tensors)
    except TrainingError:
        raise
    except Exception as error:  # odd files lead to nearly any type
        raise TrainingError(
            f"the training state '{latest}' is damaged ({reason_of(error)}): remove it to use the one before"
        ) from error


def latest_state(folder: Path) -> Path | None:
    """Return the folder of the latest state, or `None` where there is none."""
    found = _found(folder)
    return found[-1] if found else None


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return a module's weights under names that start with `prefix` and a full stop."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def load_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set a module's weights from what `module_tensors` gave."""
    start = f"{prefix}."
    module.load_state_dict({name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)})


def optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimiser's moments and counters by name."""
    return {
        f"{prefix}.{index}.{key}": torch.as_tensor(value)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
    }


def load_optimizer(prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set an optimiser's moments and counters from what `optimizer_tensors` gave."""
    whole = optimizer.state_dict()
    whole["state"] = {}
    for name, value in tensors.items():
        head, _, key = name.rpartition(".")
        start, _, index = head.rpartition(".")
        if start == prefix:
            whole["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(whole)


def _shards(tensors: Mapping[str, Tensor], shard_mib: float) -> Iterator[dict[str, Tensor]]:
    """Group tensors into files below a size; each is cut into flat pieces named NAME#0000, NAME#0001 ..."""
    room = limit = max(1, int(shard_mib * 2**20))
    shard: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        most = max(1, limit // flat.element_size())
        for number, piece in enumerate(torch.split(flat, most) if flat.numel() else (flat,)):
            size = piece.numel() * piece.element_size()
            if shard and size > room:
                yield shard
                shard, room = {}, limit
            # A copy: pieces that share memory cannot be stored.
            shard[f"{name}#{number:04d}"] = piece.clone()
            room -= size
    if shard:
        yield shard


def _found(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and (path / _INDEX).is_file())


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
