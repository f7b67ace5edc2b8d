"""Probability models of codebook indices, in integers from end to end: every machine has the same.

The indices are coded row by row, in two passes per row: first every other one, given the three above it, then those
between, given their neighbours on either side and the one above. What is coded at once depends on nothing in it.
"""

import math
from abc import ABC, abstractmethod
from decimal import Decimal, localcontext
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from rdcodecs.entropy import FrequencyTables
from rdcodecs.entropy.tables import PRECISION

Ints = npt.NDArray[np.integer]
ModelName = Literal["uniform", "adaptive", "learned"]

NEIGHBOURS: Final = 3
PASSES: Final = 2
LOG_UNIT: Final = 256
"""Steps to a factor of two in the tables of `LearnedModel`."""
_ROOM: Final = (1 << PRECISION) - 1  # a table's escape, which is never used, takes one
_PEAK_BITS: Final = 20


class IndexModel(ABC):
    """What is known of the next indices. An object serves for one image, once.

    Args:
        size: of the codebook.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    @abstractmethod
    def weights(self, neighbours: Ints, pass_number: int) -> npt.NDArray[np.int64]:
        """Return how likely each index is, up to a factor: shape (n, size), from 0 to 2^32, in each row some above 0.

        Args:
            neighbours: of each place, shape (3, n); `size` stands for none.
            pass_number: 0 or 1.
        """

    @property
    def least_bits(self) -> float:
        """What any index costs at the least, in bits: all the others in its table, and the escape, have one count."""
        return PRECISION - math.log2((1 << PRECISION) - self.size)

    def learn(self, indices: Ints, neighbours: Ints, pass_number: int) -> None:  # noqa: B027 - not all models learn
        """Take note of what was coded, shape (n,)."""

    def book(self, neighbours: Ints, pass_number: int) -> FrequencyTables:
        """Return one table for each place; arguments as for `weights`."""
        cumulative = np.cumsum(self.weights(neighbours, pass_number), axis=1)
        # Sums are rounded, not shares: so the frequencies add up, and none is off by more than one.
        ends = cumulative * (_ROOM - self.size) // cumulative[:, -1:]
        count = len(ends)
        frequencies = np.ones((count, self.size + 1), dtype=np.int64)
        frequencies[:, :-1] += np.diff(ends, axis=1, prepend=0)
        return FrequencyTables(
            lows=np.zeros(count, dtype=np.int32),
            sizes=np.full(count, self.size + 1, dtype=np.int32),
            frequencies=frequencies.reshape(-1).astype(np.int32),
        )


class UniformModel(IndexModel):
    """All indices are equally likely: the model of the reference."""

    def weights(self, neighbours: Ints, pass_number: int) -> npt.NDArray[np.int64]:
        """Return ones."""
        return np.ones((neighbours.shape[1], self.size), dtype=np.int64)

    @property
    def least_bits(self) -> float:
        """What any index costs at the least, in bits."""
        return float(self.book(np.full((NEIGHBOURS, 1), self.size), 0).least_bits[0])


class AdaptiveModel(IndexModel):
    """Counts what the image has had so far; it needs no training, and so serves any codebook.

    An index is drawn anew, by the counts with half a one added to each (Krichevsky and Trofimov 1981), or is that of
    a neighbour, as often as that neighbour has been right.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._counts = np.ones(size, dtype=np.int64)  # in halves
        # Right and wrong so far, of each neighbour in each pass.
        self._right = np.ones((PASSES, NEIGHBOURS), dtype=np.int64)
        self._wrong = np.full((PASSES, NEIGHBOURS), 16, dtype=np.int64)

    def weights(self, neighbours: Ints, pass_number: int) -> npt.NDArray[np.int64]:
        """Return the counts, and to each neighbour's index its odds times the sum of the counts."""
        count = neighbours.shape[1]
        weights = np.zeros((count, self.size + 1), dtype=np.int64)
        weights[:, :-1] = self._counts
        total = int(self._counts.sum())
        for slot, row in enumerate(neighbours):
            odds = total * self._right[pass_number, slot] // self._wrong[pass_number, slot]
            weights[np.arange(count), row] += odds
        return weights[:, :-1]

    def learn(self, indices: Ints, neighbours: Ints, pass_number: int) -> None:
        """Count."""
        self._counts += 2 * np.bincount(indices, minlength=self.size)
        for slot, row in enumerate(neighbours):
            known = row < self.size
            right = int((known & (row == indices)).sum())
            self._right[pass_number, slot] += right
            self._wrong[pass_number, slot] += int(known.sum()) - right


class LearnedModel(IndexModel):
    """Indices given their neighbours, learnt from the training images.

    The logarithm of an index's weight is a sum: one table for the index itself, and for each neighbour one that the
    neighbour's index points into.

    Args:
        bias: logarithms to base two, times 256: int16, shape (2, size), one row a pass.
        contexts: likewise, int16, shape (2, 3, size + 1, size): pass, neighbour, the neighbour's index (the last
            stands for none), the index.

    Raises:
        ValueError: the arrays are not of that form.
    """

    def __init__(self, bias: npt.NDArray[np.int16], contexts: npt.NDArray[np.int16]) -> None:
        size = bias.shape[-1] if bias.ndim else 0
        if (
            bias.shape != (PASSES, size)
            or contexts.shape != (PASSES, NEIGHBOURS, size + 1, size)
            or bias.dtype != np.int16
            or contexts.dtype != np.int16
        ):
            raise ValueError(f"the tables of indices have the shapes {bias.shape} and {contexts.shape}")
        super().__init__(size)
        self._bias = bias
        self._contexts = contexts

    def weights(self, neighbours: Ints, pass_number: int) -> npt.NDArray[np.int64]:
        """Return 2 to the power of the sums, the largest in each row brought to 2^20."""
        logs = self._bias[pass_number].astype(np.int32) + np.zeros((neighbours.shape[1], 1), dtype=np.int32)
        for slot, row in enumerate(neighbours):
            logs += self._contexts[pass_number, slot, row]
        whole, part = np.divmod(logs.max(axis=1, keepdims=True) - logs, LOG_UNIT)
        weights: npt.NDArray[np.int64] = _POWERS[part] >> np.minimum(whole, _PEAK_BITS + 1)
        return weights


def passes(size: tuple[int, int]) -> list[tuple[int, int, npt.NDArray[np.intp]]]:
    """Return the order of coding a grid of this (height, width): pass number, row, columns."""
    height, width = size
    columns = [np.arange(first, width, 2) for first in range(PASSES)]
    return [(number, row, columns[number]) for row in range(height) for number in range(PASSES) if columns[number].size]


def padded(size: tuple[int, int], none: int) -> npt.NDArray[np.int32]:
    """Return an empty grid with an edge above and on either side, as `neighbours_of` reads it."""
    return np.full((size[0] + 1, size[1] + 2), none, dtype=np.int32)


def neighbours_of(grid: Ints, pass_number: int, row: int, columns: npt.NDArray[np.intp]) -> Ints:
    """Return the neighbours that are known when some places are coded.

    Args:
        grid: indices with their edge (see `padded`), shape (..., h + 1, w + 2).
        pass_number: 0 or 1.
        row: of the places.
        columns: of the places, shape (n,).

    Returns:
        Shape (..., 3, n): above to the left, above, above to the right; or left, above, right.
    """
    middle = columns + 1
    side = row if pass_number == 0 else row + 1
    return np.stack([grid[..., side, middle - 1], grid[..., row, middle], grid[..., side, middle + 1]], axis=-2)


def _powers() -> npt.NDArray[np.int64]:
    # In decimal arithmetic: its last digit does not depend on anybody's floating-point library.
    with localcontext() as context:
        context.prec = 40
        values = [2 ** (_PEAK_BITS - Decimal(step) / LOG_UNIT) for step in range(LOG_UNIT)]
        return np.array([int(value.to_integral_value()) for value in values], dtype=np.int64)


_POWERS: Final = _powers()
