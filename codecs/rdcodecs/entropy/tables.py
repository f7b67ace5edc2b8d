"""Integer frequency tables: the probabilities that travel with a model's weights.

A probability that encoder and decoder each compute in floating point may differ in its last bit between machines,
and then everything after it decodes to noise. So floating point is used once, when a model is exported; from then
on its distributions are these integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from rdcodecs.codec import CodecError
from rdcodecs.entropy import escape

PRECISION: Final = 16
"""The frequencies of a table sum to 2^PRECISION."""

_TOTAL: Final = 1 << PRECISION
_MAX_TABLES: Final = 1 << 16
_TAIL: Final = 1e-5
_MAX_SCALE: Final = 1024.0
_GAUSSIAN_COUNT: Final = 4096  # tables of scales that are hardly ever used stay what theory says
_SEEN_TAIL: Final = 1e-4  # of each symbol more the others pay 2e-5 bits, of an escape some twenty
_MAX_SYMBOLS: Final = 1 << 15  # in a uniform table of more, some would cost a whole bit more than others

_Ints = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class FrequencyTables:
    """A book of T frequency tables.

    Table t has a frequency for each of the symbols ``lows[t]``, ``lows[t] + 1`` ..., and a last one, the escape,
    which stands for all other symbols (their code is that of `rdcodecs.entropy.escape`). A symbol's probability is
    its frequency over 2^16.

    Attributes:
        lows: each table's first symbol, int32, shape (T,).
        sizes: each table's number of frequencies, the escape's included, int32, shape (T,), at least 2.
        frequencies: the tables one after another, int32, shape (sum of sizes,); each at least 1, and those of
            one table sum to 2^16.

    Raises:
        CodecError: the arrays are not such a book.
    """

    lows: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int32]
    frequencies: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        for name in ("lows", "sizes", "frequencies"):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise CodecError(f"frequency tables: '{name}' must be a flat array of integers")
            if array.size and (array.max() >= 1 << 31 or array.min() < -(1 << 31)):
                raise CodecError(f"frequency tables: '{name}' has values beyond 32 bits")
            array = array.astype(np.int32)  # a copy: nobody else's array may change a book
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        self._validate()

    def __len__(self) -> int:
        return self.lows.size

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Where each table begins in `frequencies`: int64, shape (T,)."""
        return np.concatenate([[0], np.cumsum(self.sizes[:-1], dtype=np.int64)])

    @cached_property
    def least_bits(self) -> npt.NDArray[np.float64]:
        """What the likeliest symbol of each table costs, in bits: float64, shape (T,). No symbol costs less."""
        return PRECISION - np.log2(np.maximum.reduceat(self.frequencies, self.starts))

    def table(self, index: int) -> npt.NDArray[np.int32]:
        """Return one table's frequencies, the escape's last: int32, shape (sizes[index],)."""
        start = self.starts[index]
        return self.frequencies[start : start + self.sizes[index]]

    def entries(self, symbols: _Ints, tables: _Ints) -> npt.NDArray[np.int32]:
        """Return each symbol's place in its table; the escape's place where the table does not hold the symbol.

        Args:
            symbols: integers, shape (n,).
            tables: the index of each one's table, integers, shape (n,).

        Returns:
            int32, shape (n,).

        Raises:
            EncodeError: a symbol is 2^20 or more in magnitude.
            ValueError: an array is not of integers, not flat or of another length, or a table does not exist.
        """
        self.check(tables)
        if symbols.shape != tables.shape or symbols.dtype.kind not in "iu":
            raise ValueError(f"symbols must be {tables.size} integers, not {symbols.dtype} of shape {symbols.shape}")
        escape.check(symbols)
        places = symbols.astype(np.int32) - self.lows[tables]
        escapes = self.sizes[tables] - 1
        return np.where((places < 0) | (places > escapes), escapes, places)

    def check(self, tables: _Ints) -> None:
        """Raise `ValueError` where `tables` is not a flat array of indices of tables."""
        if tables.ndim != 1 or tables.dtype.kind not in "iu":
            raise ValueError(f"tables must be a flat array of integers, not {tables.dtype} of shape {tables.shape}")
        if tables.size and (tables.min() < 0 or tables.max() >= len(self)):
            raise ValueError(f"a table index is outside 0 to {len(self) - 1}")

    def distances(self, symbols: _Ints, tables: _Ints) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
        """Return how far symbols lie outside their tables.

        Args:
            symbols: those whose entry is the escape, shape (n,).
            tables: their tables, shape (n,).

        Returns:
            Which lie below their table, bool, shape (n,); and how many symbols lie between, int32, shape (n,).
        """
        places = symbols.astype(np.int32) - self.lows[tables]
        below = places < 0
        return below, np.where(below, -1 - places, places - (self.sizes[tables] - 1))

    def outside(
        self, tables: _Ints, below: npt.NDArray[np.bool_], distances: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int32]:
        """Return the symbols of which `distances` returned `below` and `distances`: int32, shape (n,)."""
        lows = self.lows[tables]
        return np.where(below, lows - 1 - distances, lows + (self.sizes[tables] - 1) + distances)

    def bits(self, symbols: _Ints, tables: _Ints) -> float:
        """Return what symbols cost by these tables: the sum of -log2 p, escapes and their code included, in bits.

        Args:
            symbols: integers, shape (n,).
            tables: the index of each one's table, integers, shape (n,).

        Raises:
            EncodeError: a symbol is 2^20 or more in magnitude.
            ValueError: see `entries`.
        """
        entries = self.entries(symbols, tables)
        frequencies = self.frequencies[self.starts[tables] + entries]
        escaped = entries == self.sizes[tables] - 1
        _, distances = self.distances(symbols[escaped], tables[escaped])
        return float(PRECISION * symbols.size - np.log2(frequencies).sum() + escape.bits(distances))

    def to_arrays(self) -> dict[str, npt.NDArray[np.int32]]:
        """Return the book as arrays that a safetensors file can hold; `from_arrays` reads them."""
        return {"lows": self.lows, "sizes": self.sizes, "frequencies": self.frequencies}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "FrequencyTables":
        """Return the book that `to_arrays` wrote.

        Raises:
            CodecError: an array is missing, or they are not a valid book.
        """
        names = ("lows", "sizes", "frequencies")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise CodecError(f"frequency tables: no array '{missing[0]}'")
        return cls(*(arrays[name] for name in names))

    def _validate(self) -> None:
        if not 1 <= len(self) <= _MAX_TABLES or self.sizes.size != len(self):
            raise CodecError(
                f"frequency tables: {self.lows.size} lows and {self.sizes.size} sizes: "
                f"both must be the number of tables, 1 to {_MAX_TABLES}"
            )
        if self.sizes.min() < 2 or self.sizes.sum(dtype=np.int64) != self.frequencies.size:
            raise CodecError("frequency tables: the sizes must be at least 2 and sum to the number of frequencies")
        if self.frequencies.min() < 1 or np.any(
            np.add.reduceat(self.frequencies, self.starts, dtype=np.int64) != _TOTAL
        ):
            raise CodecError(f"frequency tables: a table's frequencies must be at least 1 and sum to {_TOTAL}")
        if self.lows.min() <= -escape.LIMIT or np.any(self.lows + self.sizes - 2 >= escape.LIMIT):
            raise CodecError(f"frequency tables: a table has symbols of magnitude {escape.LIMIT} or more")


def gaussian_tables(scales: Sequence[float], seen: Sequence[npt.ArrayLike] | None = None) -> FrequencyTables:
    """Return a zero-mean Gaussian for each scale, integrated over bins of width one.

    The support is symmetric, has at least -1, 0 and 1, and leaves 1e-5 of the Gaussian or less to the escape. To be run
    when a model is exported: the result goes into its weights.

    Args:
        scales: standard deviations, more than 0 and at most 1024.
        seen: for each scale how often the magnitudes 0, 1 ... were seen among symbols that are to be coded under it,
            integers, shape (n,), n from 1 to 32768, not negative. They are added to the Gaussian as if that had been
            seen 4096 times, and the support is widened until 1e-4 of them or less are left to the escape.

    Raises:
        CodecError: a scale is out of range, there is none, or what was seen is not of that form.
    """
    values = np.asarray(scales, dtype=np.float64)
    if values.ndim != 1 or not np.all((values > 0) & (values <= _MAX_SCALE)):  # NaN fails too
        raise CodecError(f"a Gaussian's scale must be more than 0 and at most {_MAX_SCALE:g}")
    counts = [np.zeros(1, dtype=np.int64)] * len(values) if seen is None else [np.asarray(item) for item in seen]
    if len(counts) != len(values) or any(_no_histogram(item) for item in counts):
        raise CodecError(f"what was seen must be 1 to {_MAX_SYMBOLS} integers for each scale, none of them negative")
    lows, rows = [], []
    for scale, count in zip(values, counts, strict=True):
        further = count.sum() - np.cumsum(count)  # than each magnitude
        half = max(1, int(np.count_nonzero(further > _SEEN_TAIL * (count.sum() + _GAUSSIAN_COUNT))))
        while 2 * ndtr(-(half + 0.5) / scale) > _TAIL:
            half += 1
        # What lies beyond each bin of 0 to half, on the negative side: there it does not drown in 1.
        beyond = ndtr(-(np.arange(half + 1) + 0.5) / scale)
        likely = np.concatenate([[1 - 2 * beyond[0]], -2 * np.diff(beyond), [2 * beyond[-1]]])
        found = np.pad(count, (0, max(0, half + 1 - count.size)))
        weights = _GAUSSIAN_COUNT * likely + np.append(found[: half + 1], found[half + 1 :].sum())
        side = weights[1:-1] / 2
        row = np.concatenate([side[::-1], weights[:1], side, weights[-1:]])
        lows.append(-half)
        rows.append(_integers(row / row.sum()))
    return _book(lows, rows)


def counted_tables(counts: Sequence[tuple[int, npt.ArrayLike]]) -> FrequencyTables:
    """Return a table for each histogram of symbols that were seen.

    Half a count is added to every symbol and to the escape (Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27(2),
    1981), so that what was not seen can be coded too. To be run when a model is exported.

    Args:
        counts: for each table its first symbol, and how often it and those after it were seen: integers, shape (n,),
            n from 1 to 32768, not negative.

    Raises:
        CodecError: a histogram is not of that form, or there is none.
    """
    lows, rows = [], []
    for low, histogram in counts:
        seen = np.asarray(histogram)
        if _no_histogram(seen):
            raise CodecError(f"a histogram must be 1 to {_MAX_SYMBOLS} integers, none of them negative")
        weights = np.append(seen, 0) + 0.5
        lows.append(low)
        rows.append(_integers(weights / weights.sum()))
    return _book(lows, rows)


def uniform_table(size: int) -> FrequencyTables:
    """Return one table in which the symbols 0 to size - 1 are equally likely, for plain indices.

    Args:
        size: 1 to 32768.

    Raises:
        CodecError: the size is out of range.
    """
    if not 1 <= size <= _MAX_SYMBOLS:
        raise CodecError(f"a uniform table must have 1 to {_MAX_SYMBOLS} symbols, not {size}")
    # The escape gets the least that a table allows: no index is ever outside.
    each, more = divmod(_TOTAL - 1, size)
    return _book([0], [np.append(each + (np.arange(size) < more), 1)])


def _no_histogram(seen: npt.NDArray[Any]) -> bool:
    return seen.ndim != 1 or not 1 <= seen.size <= _MAX_SYMBOLS or seen.dtype.kind not in "iu" or bool(seen.min() < 0)


def _book(lows: Sequence[int], rows: Sequence[_Ints]) -> FrequencyTables:
    if not rows:
        raise CodecError("frequency tables: none given")
    return FrequencyTables(
        lows=np.array(lows), sizes=np.array([row.size for row in rows]), frequencies=np.concatenate(rows)
    )


def _integers(probabilities: npt.NDArray[np.float64]) -> _Ints:
    """Return the frequencies that code these probabilities shortest: at least 1 each, 2^16 together.

    From rounding down on, single counts are given where they save most, or taken where they cost least.
    """
    frequencies = np.maximum(np.floor(probabilities * _TOTAL), 1.0)
    excess = int(frequencies.sum()) - _TOTAL
    for _ in range(-excess):
        frequencies[np.argmax(probabilities * np.log1p(1 / frequencies))] += 1
    for _ in range(excess):
        cost = probabilities * np.log(frequencies / np.maximum(frequencies - 1, 1))
        frequencies[np.argmin(np.where(frequencies > 1, cost, np.inf))] -= 1
    return frequencies.astype(np.int64)
