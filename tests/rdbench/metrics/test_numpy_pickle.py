import collections
import io
import os
import pickle

import numpy as np
import pytest

from rdbench.metrics.numpy_pickle import ForeignPickleError, read_arrays

ARRAYS = {"Net_0": {"Conv_0": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3)}}}


class _Runs:
    """What a hostile pickle does: call something when it is read."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _read(data):
    return read_arrays(io.BytesIO(data))


# Older and newer protocols write an array with the help of further names; no archive that we read uses them.
@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays(protocol):
    found = _read(pickle.dumps(ARRAYS, protocol))
    assert list(found) == ["Net_0.Conv_0.kernel", "Net_0.Conv_0.bias"]
    np.testing.assert_array_equal(found["Net_0.Conv_0.kernel"], ARRAYS["Net_0"]["Conv_0"]["kernel"])
    assert found["Net_0.Conv_0.bias"].dtype == np.float64


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_names_of_numpys_module(module):
    data = pickle.dumps(ARRAYS, 3)
    name = next(name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in data)
    assert _read(data.replace(name, module)).keys() == _read(data).keys()


@pytest.mark.parametrize(
    "content",
    [
        _Runs(os.system, "touch {marker}"),
        _Runs(eval, "open('{marker}', 'w')"),
        _Runs(getattr, "", "join"),
        _Runs(np.load, "{marker}"),
        collections.OrderedDict(),
        {"a": _Runs(np.save, "{marker}", 0)},
    ],
    ids=["system", "eval", "getattr", "load", "OrderedDict", "nested"],
)
def test_anything_else_is_refused_before_it_is_called(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # {marker} would appear there
    data = pickle.dumps(content, 3)
    with pytest.raises(ForeignPickleError, match=r"^it names \S+, which no array needs$"):
        _read(data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [{"a": 1}, [np.ones(2)], {"a": np.array(["text"])}, {"a": np.array([[]], object)}, 3]
)
def test_something_other_than_arrays_of_numbers(content):
    with pytest.raises(ForeignPickleError, match=r"is no array of floating-point numbers$"):
        _read(pickle.dumps(content, 3))


@pytest.mark.parametrize("data", [b"", b"\x80", b"no pickle", pickle.dumps(ARRAYS, 3)[:-40], b"\x80\x03\x8a\xff."])
def test_damaged(data):
    with pytest.raises(ForeignPickleError, match=r"^it cannot be read as a pickle of arrays: \w+$"):
        _read(data)
