"""The tables against the distributions that they stand for."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdcodecs import CodecError, EncodeError
from rdcodecs.entropy import FrequencyTables, counted_tables, gaussian_tables, uniform_table


def gaussian_bin(symbol: int, scale: float) -> float:
    """The integral of a zero-mean Gaussian over a bin of width one, by the error function."""
    edges = [(symbol + side) / (scale * math.sqrt(2)) for side in (-0.5, 0.5)]
    return (math.erf(edges[1]) - math.erf(edges[0])) / 2


def entropy(probabilities: npt.NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-np.sum(positive * np.log2(positive)))


def expected_bits(book: FrequencyTables, probabilities: npt.NDArray[np.float64]) -> float:
    return float(np.sum(probabilities * (16 - np.log2(book.table(0)))))


@pytest.mark.parametrize("scale", [0.01, 0.11, 0.3, 1, 3.7, 20, 64, 256])
def test_a_gaussian_is_coded_in_its_entropy(scale: float) -> None:
    book = gaussian_tables([scale])
    half = -int(book.lows[0])
    assert book.sizes[0] == 2 * half + 2
    inside = np.array([gaussian_bin(symbol, scale) for symbol in range(-half, half + 1)])
    probabilities = np.append(inside, max(0.0, 1 - inside.sum()))
    assert probabilities[-1] <= 1e-5
    # What integers cost: the many counts of 1 that a wide table must have are missing elsewhere.
    assert expected_bits(book, probabilities) <= 1.001 * entropy(probabilities) + 1e-4
    np.testing.assert_allclose(book.table(0), 65536 * probabilities, atol=3)


@pytest.mark.parametrize("scale", [1, 5, 30])
def test_a_gaussians_support_is_no_wider_than_its_tail_asks(scale: float) -> None:
    half = -int(gaussian_tables([scale]).lows[0])
    assert math.erfc((half - 0.5) / (scale * math.sqrt(2))) > 1e-5


def test_a_gaussian_is_corrected_by_what_was_seen() -> None:
    scales = [0.5, 2.0]
    laplacian = np.exp(-np.arange(12) / 0.4) * np.where(np.arange(12), 2, 1)
    seen = [np.round(1e6 * laplacian / laplacian.sum()).astype(np.int64), np.zeros(1, dtype=np.int64)]
    plain, book = gaussian_tables(scales), gaussian_tables(scales, seen)
    probabilities = np.concatenate([laplacian[:0:-1] / 2, laplacian[:1], laplacian[1:] / 2]) / laplacian.sum()
    symbols = np.arange(-11, 12)

    def length(tables: FrequencyTables) -> float:
        bits = [tables.bits(np.array([symbol]), np.zeros(1, dtype=np.int32)) for symbol in symbols.tolist()]
        return float(np.sum(probabilities * bits))

    assert length(book) < 0.96 * length(plain)
    assert length(book) < 1.005 * entropy(probabilities)
    # No more than 1e-4 of what was seen is left to the escape.
    half = -int(book.lows[0])
    assert half > -plain.lows[0]
    assert seen[0][half + 1 :].sum() <= 1e-4 * (seen[0].sum() + 4096) < seen[0][half:].sum()
    # One that strayed does not make a table of hundreds.
    assert gaussian_tables(scales[:1], [[90_000, *[0] * 200, 1]]).sizes[0] == plain.sizes[0]
    # Where nothing was seen the Gaussian stands.
    np.testing.assert_array_equal(book.table(1), plain.table(1))


@pytest.mark.parametrize("seen", [[[1, 2]], [[1], [2], [3]], [[1], []], [[1], [-1]], [[1], [0.5]], [[1], [[2]]]])
def test_what_cannot_have_been_seen_is_refused(seen: list[Any]) -> None:
    with pytest.raises(CodecError, match="for each scale, none of them negative"):
        gaussian_tables([1.0, 2.0], seen)


def test_a_book_holds_its_tables_in_order() -> None:
    scales = [0.5, 9, 2]
    book = gaussian_tables(scales)
    assert len(book) == 3
    for index, scale in enumerate(scales):
        alone = gaussian_tables([scale])
        assert book.lows[index] == alone.lows[0]
        np.testing.assert_array_equal(book.table(index), alone.table(0))


def test_counts_become_frequencies_with_half_a_count_more() -> None:
    book = counted_tables([(5, [3, 1]), (-2, [0, 0, 0])])
    assert book.lows.tolist() == [5, -2]
    np.testing.assert_allclose(book.table(0), 65536 * np.array([3.5, 1.5, 0.5]) / 5.5, atol=1)
    np.testing.assert_allclose(book.table(1), 65536 / 4, atol=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=80))
def test_counted_tables_code_what_was_counted_near_its_entropy(histogram: list[int]) -> None:
    book = counted_tables([(0, histogram)])
    weights = np.append(histogram, 0) + 0.5
    probabilities = weights / weights.sum()
    assert book.frequencies.min() >= 1
    assert expected_bits(book, probabilities) - entropy(probabilities) <= 1e-4 + book.sizes[0] / 65536


@pytest.mark.parametrize("size", [1, 2, 256, 3000, 32768])
def test_uniform_indices_differ_by_one_count_at_most(size: int) -> None:
    frequencies = uniform_table(size).table(0)
    assert frequencies.size == size + 1
    assert frequencies[-1] == 1
    assert np.ptp(frequencies[:-1]) <= 1


def test_bits_of_a_dyadic_table_are_whole() -> None:
    book = FrequencyTables(
        np.array([-1, 7]), np.array([4, 2]), np.array([1 << 15, 1 << 14, 1 << 13, 1 << 13] + 2 * [1 << 15])
    )
    assert book.bits(np.array([-1, 0, 1, 7]), np.array([0, 0, 0, 1])) == 1 + 2 + 3 + 1
    # Outside: the escape, one bit for the side, and the Exp-Golomb code of the distance.
    assert book.bits(np.array([2]), np.array([0])) == 3 + 1 + 1
    assert book.bits(np.array([-2]), np.array([0])) == 3 + 1 + 1
    assert book.bits(np.array([3, 4]), np.array([0, 0])) == 2 * (3 + 1 + 3)
    assert book.bits(np.array([7 + 1 + 1023]), np.array([1])) == 1 + 1 + 21
    assert book.bits(np.array([], dtype=np.int64), np.array([], dtype=np.int64)) == 0


def test_a_book_survives_a_safetensors_file(tmp_path: Path) -> None:
    files = pytest.importorskip("safetensors.numpy")
    book = gaussian_tables([0.3, 4])
    files.save_file(book.to_arrays(), tmp_path / "book.safetensors")
    again = FrequencyTables.from_arrays(files.load_file(tmp_path / "book.safetensors"))
    for name, array in book.to_arrays().items():
        assert array.dtype == np.int32
        np.testing.assert_array_equal(again.to_arrays()[name], array)


def test_a_book_does_not_change_with_the_arrays_it_was_made_of() -> None:
    arrays = {name: array.copy() for name, array in uniform_table(4).to_arrays().items()}
    book = FrequencyTables.from_arrays(arrays)
    arrays["frequencies"][:] = 0
    assert book.frequencies.sum() == 65536
    with pytest.raises(ValueError, match="read-only"):
        book.frequencies[0] = 1


GOOD: Mapping[str, Any] = {"lows": [0], "sizes": [3], "frequencies": [65000, 530, 6]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frequencies": [65000, 530, 7]}, "sum to 65536"),
        ({"frequencies": [65000, 536, 0]}, "at least 1"),
        ({"frequencies": [65530, 6]}, "sum to the number of frequencies"),
        ({"sizes": [1, 2], "lows": [0, 0]}, "at least 2"),
        ({"sizes": [3, 3]}, "1 lows and 2 sizes"),
        ({"lows": [], "sizes": [], "frequencies": []}, "number of tables"),
        ({"lows": [1 << 20]}, "magnitude 1048576"),
        ({"lows": [-(1 << 20)]}, "magnitude 1048576"),
        ({"lows": [1 << 40]}, "'lows' has values beyond 32 bits"),
        ({"lows": [0.5]}, "'lows' must be a flat array of integers"),
        ({"frequencies": [[65000, 530, 6]]}, "'frequencies' must be a flat array"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_a_book_are_refused(change: Mapping[str, Any], message: str) -> None:
    kind = {"lows": np.int64, "sizes": np.int64, "frequencies": np.int64}
    arrays = {
        name: np.array(value, dtype=kind[name] if value == [] else None) for name, value in (GOOD | change).items()
    }
    with pytest.raises(CodecError, match=message) as caught:
        FrequencyTables.from_arrays(arrays)
    assert "\n" not in str(caught.value)


def test_a_missing_array_is_named() -> None:
    with pytest.raises(CodecError, match="no array 'sizes'"):
        FrequencyTables.from_arrays({"lows": np.array([0]), "frequencies": np.array([65535, 1])})


@pytest.mark.parametrize("scale", [0, -1, math.nan, math.inf, 2000])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(CodecError, match="more than 0 and at most 1024"):
        gaussian_tables([1.0, scale])


@pytest.mark.parametrize("histogram", [[], [1, -1], [0.5], [[1]]])
def test_a_histogram_that_is_none_is_refused(histogram: Any) -> None:
    with pytest.raises(CodecError, match="histogram must be 1 to 32768 integers"):
        counted_tables([(0, histogram)])


def test_no_tables_are_refused() -> None:
    with pytest.raises(CodecError, match="none given"):
        gaussian_tables([])
    with pytest.raises(CodecError, match="none given"):
        counted_tables([])


@pytest.mark.parametrize("size", [0, 32769])
def test_a_uniform_table_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(CodecError, match="1 to 32768 symbols"):
        uniform_table(size)


def test_symbols_and_tables_must_fit_each_other() -> None:
    book = uniform_table(4)
    zeros = np.zeros(3, dtype=np.int64)
    with pytest.raises(ValueError, match="symbols must be 3 integers, not int64 of shape"):
        book.entries(zeros[:2], zeros)
    with pytest.raises(ValueError, match="symbols must be 3 integers, not float64"):
        book.entries(zeros.astype(float), zeros)
    with pytest.raises(ValueError, match="flat array of integers, not float64"):
        book.entries(zeros, zeros.astype(float))
    with pytest.raises(ValueError, match="outside 0 to 0"):
        book.entries(zeros, zeros + 1)
    with pytest.raises(EncodeError, match="magnitude 1048576 cannot be coded"):
        book.entries(zeros - (1 << 20), zeros)
