"""Read numpy arrays out of a pickle without running what else a pickle can run."""

import pickle
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from rdbench.errors import BenchError

# What numpy writes for an array. The module of the first was renamed in numpy 2.
_ALLOWED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
)


class ForeignPickleError(BenchError):
    """A pickle holds something other than dicts of arrays, or is damaged."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ForeignPickleError(f"it names {module}.{name}, which no array needs")
        # numpy's own reconstruction under its present name: the old module name warns in numpy 2.
        return np.zeros(0).__reduce__()[0] if name == "_reconstruct" else getattr(np, name)


def read_arrays(file: IO[bytes]) -> dict[str, np.ndarray[Any, Any]]:
    """Read nested dicts of arrays.

    Args:
        file: a pickle, open for reading.

    Returns:
        The arrays; the names of nested dicts are joined by dots, e.g. ``AlexNet_0.Conv_0.kernel``.

    Raises:
        ForeignPickleError: the pickle names anything that numpy does not write for an array, holds anything but
            dicts of numeric arrays, or is damaged. Nothing foreign has been called then.
    """
    try:
        content = _ArraysOnly(file).load()
    except ForeignPickleError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise ForeignPickleError(f"it cannot be read as a pickle of arrays: {type(error).__name__}") from error
    found: dict[str, np.ndarray[Any, Any]] = {}
    _collect("", content, found)
    return found


def _collect(name: str, value: object, found: dict[str, np.ndarray[Any, Any]]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _collect(f"{name}.{key}" if name else str(key), inner, found)
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        found[name] = value
    else:
        raise ForeignPickleError(f"{name or 'its content'} is no array of floating-point numbers")
