"""Read files that others made: whatever is in them, an error is one line that names the file.

Damaged or odd files make the libraries that read them raise nearly any type, hence the wide net.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rdcodecs.codec import CodecError

_LARGEST_JSON = 1 << 26
_LONGEST_REASON = 200


@contextmanager
def telling_damage(path: Path, error: type[Exception] = CodecError) -> Iterator[None]:
    """Turn whatever is raised within into one line about a file or folder; errors of codecs, and `error`, pass as is.

    Args:
        path: what is being read.
        error: what to raise.
    """
    try:
        yield
    except (CodecError, error):
        raise
    except Exception as reason:
        raise error(f"'{path}' is damaged or of another version: {reason_of(reason)}") from reason


def reason_of(error: BaseException) -> str:
    """Return an error's message in one line of bounded length, after its type where the message alone tells little."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    # The message of a KeyError is the key alone.
    return f"{type(error).__name__} {text}".strip() if isinstance(error, LookupError) or not text else text


def read_json(path: Path, error: type[Exception] = CodecError) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file, UTF-8.
        error: what to raise.

    Raises:
        CodecError: (or `error`) it is no file, too large, damaged, or not an object.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a file" if path.exists() else "there is no such file")
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"it has {path.stat().st_size} bytes, over the limit of {_LARGEST_JSON}")
        value = json.loads(path.read_text(encoding="utf-8"))
    except Exception as reason:  # RecursionError among them
        raise error(f"'{path}' cannot be read as JSON: {reason_of(reason)}") from reason
    if not isinstance(value, dict):
        raise error(f"'{path}' is not a JSON object")
    return value


def read_tensors(path: Path, error: type[Exception] = CodecError) -> dict[str, Tensor]:
    """Read a safetensors file, onto the CPU.

    Raises:
        CodecError: (or `error`) it is damaged.
    """
    with telling_damage(path, error):
        return load_file(path)


def check_tensors(
    path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], error: type[Exception] = CodecError
) -> None:
    """Check that a file has the weights of a network, before memory is taken for one that its settings describe.

    Args:
        path: of the file or folder, for messages.
        found: in it.
        wanted: names and shapes, e.g. the state of a network on the device "meta".
        error: what to raise.

    Raises:
        CodecError: (or `error`) a weight is missing, unknown, of another shape, or not finite.
    """
    for kind, names in (("lacks", wanted.keys() - found.keys()), ("has unknown", found.keys() - wanted.keys())):
        if names:
            raise error(f"'{path}' {kind} {len(names)} weights, e.g. {min(names)}: it is not of this kind, or damaged")
    for name, value in wanted.items():
        if found[name].shape != value.shape:
            raise error(
                f"'{path}' has {name} of shape {tuple(found[name].shape)}, not {tuple(value.shape)}: "
                "it does not belong to its config.json"
            )
    check_finite(path, found, error)


def check_finite(path: Path, tensors: Mapping[str, Tensor], error: type[Exception] = CodecError) -> None:
    """Raise `CodecError` (or `error`) where a file has a weight that is infinite or not a number."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise error(
                f"'{path}' has values in {name} that are not finite numbers: it is damaged, or its training was"
            )
