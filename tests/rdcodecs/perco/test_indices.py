"""Models of indices, and their coding."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdcodecs.codec import StreamError
from rdcodecs.perco.index_coder import MODEL_NAMES, IndexCoder, Indices
from rdcodecs.perco.index_models import (
    _POWERS,
    IndexModel,
    LearnedModel,
    neighbours_of,
    padded,
    passes,
)
from rdtrain.perco.index_tables import learn_tables


def walks(count: int, side: int, size: int, seed: int = 0) -> Indices:
    """Grids in which an index is mostly that to its left, or that above, or one more."""
    rng = np.random.default_rng(seed)
    grids = rng.integers(0, size, (count, side, side))
    for row in range(side):
        for column in range(side):
            way = rng.random(count)
            left = grids[:, row, max(column - 1, 0)]
            above = grids[:, max(row - 1, 0), column]
            value = np.where(way < 0.4, left, np.where(way < 0.8, above, (left + 1) % size))
            grids[:, row, column] = np.where(way < 0.95, value, grids[:, row, column])
    return grids.astype(np.int32)


def learned_coder(size: int) -> IndexCoder:
    return IndexCoder(size, partial(LearnedModel, *learn_tables(walks(200, 16, size), size)))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_indices_come_back_whatever_the_model(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 40))
    shape = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    bias = rng.integers(-5000, 100, (2, size)).astype(np.int16)
    contexts = rng.integers(-5000, 5000, (2, 3, size + 1, size)).astype(np.int16)
    coder = IndexCoder(size, partial(LearnedModel, bias, contexts))
    indices = rng.integers(0, size, shape).astype(np.int32)
    coded = coder.encode_with_all(indices)
    assert set(coded) == set(MODEL_NAMES)
    for name, bytes_ in coded.items():
        assert np.array_equal(coder.decode(bytes_, name, shape), indices)
    name, shortest = coder.encode(indices)
    assert len(shortest) == min(map(len, coded.values()))
    assert coded[name] == shortest


def test_every_place_is_coded_once_after_its_neighbours() -> None:
    for size in ((1, 1), (1, 6), (5, 1), (4, 7)):
        grid = padded(size, -1)
        for number, row, columns in passes(size):
            neighbours = neighbours_of(grid, number, row, columns)
            assert (grid[row + 1, columns + 1] == -1).all()
            for place, column in enumerate(columns):
                around = (
                    [(row - 1, column - 1), (row - 1, column), (row - 1, column + 1)]
                    if number == 0
                    else [(row, column - 1), (row - 1, column), (row, column + 1)]
                )
                inside = [0 <= y < size[0] and 0 <= x < size[1] for y, x in around]
                # What lies inside the grid is known; what does not is marked.
                assert [value != -1 for value in neighbours[:, place]] == inside
            grid[row + 1, columns + 1] = columns + 100 * row
        assert np.array_equal(grid[1:, 1:-1], np.add.outer(100 * np.arange(size[0]), np.arange(size[1])))


@pytest.mark.parametrize("size", [2, 256, 1024, 8196])
def test_the_uniform_model_costs_what_it_should(size: int) -> None:
    coder = IndexCoder(size)
    side = 16
    indices = np.random.default_rng(1).integers(0, size, (side, side)).astype(np.int32)
    length = len(coder.encode_with_all(indices)["uniform"])
    bits = side * side * math.log2(size)
    assert coder.uniform_bits((side, side)) == pytest.approx(bits)
    assert bits / 8 - 1 < length < 1.003 * bits / 8 + 1.1


def test_a_table_has_the_shares_of_its_weights() -> None:
    class Given(IndexModel):
        def weights(self, neighbours: np.ndarray, pass_number: int) -> np.ndarray:
            return np.array([[0, 3, 1, 0], [1, 1, 1, 1]], dtype=np.int64)

    book = Given(4).book(np.zeros((3, 2), dtype=np.int32), 0)
    shares = [book.table(row)[:-1] / 65536 for row in range(2)]
    np.testing.assert_allclose(shares, [[0, 0.75, 0.25, 0], [0.25] * 4], atol=1e-4)
    assert [int(book.table(row)[-1]) for row in range(2)] == [1, 1]


def test_powers_are_those_of_two() -> None:
    np.testing.assert_array_equal(_POWERS, np.rint(2 ** (20 - np.arange(256) / 256)).astype(np.int64))


def test_the_adaptive_model_learns_within_the_image() -> None:
    rng = np.random.default_rng(2)
    coder = IndexCoder(256)
    few = rng.choice([3, 50, 199], (32, 32)).astype(np.int32)
    # The length by Krichevsky and Trofimov, in closed form: ours learns a few indices at a time, and asks neighbours.
    gamma = np.vectorize(math.lgamma)
    counts = np.bincount(few.reshape(-1), minlength=256)
    nats = math.lgamma(1024 + 128) - math.lgamma(128) - (gamma(counts + 0.5) - math.lgamma(0.5)).sum()
    assert len(coder.encode_with_all(few)["adaptive"]) < 1.1 * nats / math.log(2) / 8
    patches = np.kron(rng.integers(0, 256, (8, 8)), np.ones((4, 4))).astype(np.int32)
    name, data = coder.encode(patches)
    assert name == "adaptive"
    assert len(data) < 0.4 * coder.uniform_bits((32, 32)) / 8


def test_noise_is_left_to_the_uniform_model() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (32, 32)).astype(np.int32)
    assert IndexCoder(256).encode(noise)[0] == "uniform"


def test_the_learned_model_is_near_the_entropy_of_its_source() -> None:
    size, side = 12, 16
    coder = learned_coder(size)
    unseen = walks(10, side, size, seed=9)
    lengths = [{name: len(data) for name, data in coder.encode_with_all(grid).items()} for grid in unseen]
    total = {name: sum(each[name] for each in lengths) for name in MODEL_NAMES}
    assert total["learned"] < 0.65 * total["uniform"]
    assert total["learned"] < 0.85 * total["adaptive"]
    assert all(coder.encode(grid)[0] == "learned" for grid in unseen[:3])


def test_a_large_codebook_has_no_tables_of_neighbours() -> None:
    bias, contexts = learn_tables(walks(4, 8, 600), 600)
    assert not contexts.any()
    assert float(np.exp2(bias[0] / 256).sum()) == pytest.approx(1, abs=0.01)


def test_one_column_can_be_learnt_from() -> None:
    bias, contexts = learn_tables(walks(40, 8, 8)[:, :, :1], 8)
    assert contexts[0].any()
    assert not bias[1].any()


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_damaged_indices_are_noticed_or_others(name: str) -> None:
    coder = learned_coder(8)
    indices = walks(1, 9, 8, seed=5)[0]
    data = coder.encode_with_all(indices)[name]  # type: ignore[index]
    rng = np.random.default_rng(6)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        try:
            decoded = coder.decode(bytes(damaged), name, (9, 9))  # type: ignore[arg-type]
        except StreamError:
            continue
        assert decoded.min() >= 0
        assert decoded.max() < 8
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(StreamError):
            coder.decode(wrong, name, (9, 9))  # type: ignore[arg-type]


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(StreamError, match="coded by a 'learned' model, which there is not"):
        IndexCoder(8).decode(b"abc", "learned", (2, 2))


def test_tables_of_another_form_are_refused() -> None:
    bias, contexts = learn_tables(walks(2, 4, 8), 8)
    with pytest.raises(ValueError, match="tables of indices have the shapes"):
        LearnedModel(bias, contexts[:1])


def test_models_keep_nothing_from_one_image_to_the_next() -> None:
    coder = IndexCoder(16)
    indices = walks(1, 8, 16)[0]
    assert coder.encode_with_all(indices) == coder.encode_with_all(indices)
