"""Tensors in a safetensors file, deflated without loss: trained weights take a sixth less.

Of a float the byte with sign and exponent is far from random, and the other is not: the bytes of a tensor are grouped
by their place in the number before they are deflated (Hershcovitch et al. 2024, "ZipNN: lossless compression for AI
models").
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from rdcodecs.tensor_file import save_tensors

_PACKED = "packed"
_MOST = 1 << 32
"""Bytes that all tensors of a file may have together."""
_KINDS = {"float16": torch.float16, "int16": torch.int16, "int32": torch.int32}


def save_packed(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors of float16, int16 and int32, on the CPU."""
    packed, shapes = {}, {}
    for name, value in tensors.items():
        kind = str(value.dtype).removeprefix("torch.")
        if kind not in _KINDS:
            raise ValueError(f"the tensor '{name}' is of {kind}: only {', '.join(_KINDS)} are packed")
        grouped = value.contiguous().numpy().reshape(-1).view(np.uint8).reshape(-1, value.element_size()).T
        deflated = zlib.compress(np.ascontiguousarray(grouped).tobytes(), 9)
        packed[name] = torch.from_numpy(np.frombuffer(deflated, dtype=np.uint8).copy())
        shapes[name] = [kind, *value.shape]
    save_tensors(packed, path, metadata={_PACKED: json.dumps(shapes)})


def load_packed(path: Path) -> dict[str, Tensor]:
    """Read what `save_packed` wrote; a file of plain tensors is read as it is.

    Raises:
        Exception: of nearly any type: it is damaged. See `rdcodecs.reading.telling_damage`.
        ValueError: what it unpacks to is over 4 GiB.
    """
    with safe_open(path, framework="pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        shapes = json.loads((file.metadata() or {}).get(_PACKED, "null"))
    if shapes is not None and sum(math.prod(shape) * _KINDS[kind].itemsize for kind, *shape in shapes.values()) > _MOST:
        raise ValueError(f"it says that it unpacks to more than {_MOST} bytes")
    return stored if shapes is None else {name: _unpacked(value, *shapes[name]) for name, value in stored.items()}


def _unpacked(value: Tensor, kind: str, *shape: int) -> Tensor:
    size = _KINDS[kind].itemsize
    length = math.prod(shape) * size
    inflating = zlib.decompressobj()
    try:
        grouped = inflating.decompress(value.numpy().tobytes(), length + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(grouped) != length or not inflating.eof:
        raise ValueError(f"a tensor of {length} bytes inflates to another length")
    numbers = np.frombuffer(grouped, dtype=np.uint8).reshape(size, -1).T.copy()
    return torch.from_numpy(numbers.reshape(-1)).view(_KINDS[kind]).reshape(shape)
