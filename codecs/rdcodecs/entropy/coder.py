"""A range coder over `FrequencyTables`: symbols to bytes, and the same symbols back on any machine.

The coder itself is constriction's (Bamler, arXiv 2201.01741): 32-bit words, a 64-bit state, probabilities in 24-bit
fixed point, all in integer arithmetic. Only the way in is floating point: its categorical model takes float weights
w_i, and puts the lower end of symbol i at floor(scale * (w_0 + ... + w_{i-1})) + i, with scale = (2^24 - n) / sum(w).
It is given w_i = W_i - 1 for the integers W_i that are wanted, which sum to 2^24. Every partial sum is then an integer
below 2^53, the whole sum is 2^24 - n, scale is x / x = 1, and the lower end is W_0 + ... + W_{i-1}: nothing is ever
rounded, in whatever order an IEEE machine adds. (`perfect=False` asks for this rule; the other one takes logarithms.)
"""

import functools
import importlib
import importlib.metadata
import math
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rdcodecs.codec import MissingDependencyError, StreamError
from rdcodecs.entropy import escape
from rdcodecs.entropy.tables import PRECISION, FrequencyTables

_INSTALL: Final = 'pip install "constriction>=0.4,<0.6"'
_MODEL_PRECISION: Final = 24  # constriction's
_KNOWN_SYMBOLS: Final = np.array([0, 2, 1, 0, 0, 3, 1, 0, 2, 3, 3, 0, 0, 0, 1, 0], dtype=np.int32)
_KNOWN_WEIGHTS: Final = np.array([11184811, 4793491, 798913, 1])
_KNOWN_BYTES: Final = bytes.fromhex("a8fd5afa7d0eb376da6eb2c226da93825242af000450")

_Ints = npt.NDArray[np.integer]


class Encoder:
    """Symbols become bytes.

    Above what `FrequencyTables.bits` says, the bytes take less than one byte, and on average up to 1.3e-4 bits a
    symbol, since the coder rounds its interval (of 2^32 to 2^64) down to a multiple of 2^24 for each.

    Raises:
        MissingDependencyError: constriction is not installed, or a version that codes differently.
    """

    def __init__(self) -> None:
        self._library = _library()
        self._coder = self._library.stream.queue.RangeEncoder()

    def put(self, symbols: _Ints, tables: _Ints, book: FrequencyTables) -> None:
        """Append symbols. What is put in one call must be got in one call.

        Args:
            symbols: integers, shape (n,), less than 2^20 in magnitude.
            tables: the index in `book` of each one's table, integers, shape (n,).
            book: the tables.

        Raises:
            EncodeError: a symbol is too large.
            ValueError: an array is not of integers, not flat or of another length, or a table does not exist.
        """
        entries = book.entries(symbols, tables)
        order = _by_table(tables)
        symbols, tables, entries = symbols[order], tables[order], entries[order]
        for table, run in _runs(tables):
            self._coder.encode(entries[run], _table_model(self._library, book, table))
        outside = entries == book.sizes[tables] - 1
        if outside.any():
            self._put_escapes(*book.distances(symbols[outside], tables[outside]))

    def finish(self) -> bytes:
        """Return everything put so far, in the fewest bytes that are sure to decode."""
        return _close(self._coder)

    def _put_escapes(self, below: npt.NDArray[np.bool_], distances: npt.NDArray[np.int32]) -> None:
        classes, rests = escape.split(distances)
        self._coder.encode(below.astype(np.int32), _uniform(self._library, bits=1))
        self._coder.encode(classes, _categorical(self._library, escape.CLASS_WEIGHTS))
        for size in _rest_sizes(classes):
            self._coder.encode(rests[classes == size], _uniform(self._library, bits=size))


class Decoder:
    """Bytes of an `Encoder` become symbols again.

    Nearly all bytes decode to something; `finish` then says whether an encoder could have written them.

    Args:
        data: what `Encoder.finish` returned.

    Raises:
        MissingDependencyError: constriction is not installed, or a version that codes differently.
    """

    def __init__(self, data: bytes) -> None:
        self._library = _library()
        self._data = data
        self._coder = _reader(self._library, data)
        # Codes again what is decoded. The library does not say how far it has read, but only the encoder's own
        # bytes come out of this as they went in: nothing left over, nothing missing.
        self._mirror = self._library.stream.queue.RangeEncoder()

    def require(self, bits: float) -> None:
        """Refuse bytes that are too few, before memory is taken for what they cannot hold.

        Each symbol narrows the coder's interval at least by its probability, and an encoder's bytes have no fewer bits
        than the interval's width asks for (see `_close`): so no symbols have a code shorter than their -log2 p.

        Args:
            bits: that all symbols together cost at the least.

        Raises:
            StreamError: the bytes have fewer.
        """
        # Less what the sum of many logarithms may be off by.
        if bits * (1 - 1e-9) > 8 * len(self._data):
            raise StreamError(
                f"the stream is damaged: a picture of its size takes at least {math.ceil(bits / 8)} bytes of coded "
                f"data, and it has {len(self._data)}"
            )

    def get(self, tables: _Ints, book: FrequencyTables) -> npt.NDArray[np.int32]:
        """Return the next symbols, those of one `Encoder.put`.

        Args:
            tables: the index in `book` of each one's table, integers, shape (n,).
            book: the tables.

        Returns:
            int32, shape (n,).

        Raises:
            StreamError: no symbols have this code.
            ValueError: `tables` is not a flat array of integers, or a table does not exist.
        """
        book.check(tables)
        order = _by_table(tables)
        tables = tables[order]
        entries = np.empty(tables.size, dtype=np.int32)
        for table, run in _runs(tables):
            entries[run] = self._read(run.stop - run.start, _table_model(self._library, book, table))
        ordered = book.lows[tables] + entries
        outside = entries == book.sizes[tables] - 1
        if outside.any():
            ordered[outside] = book.outside(tables[outside], *self._get_escapes(int(outside.sum())))
            if np.abs(ordered).max() >= escape.LIMIT:
                raise StreamError(f"the stream is damaged: it has a symbol of magnitude {np.abs(ordered).max()}")
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    def finish(self) -> None:
        """Check that the bytes end where the symbols do.

        Raises:
            StreamError: an `Encoder` codes the symbols that were got as other bytes than these.
        """
        if _close(self._mirror) != self._data:
            raise StreamError("the stream is damaged: its coded symbols do not end where the stream does")

    def _get_escapes(self, count: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
        below = self._read(count, _uniform(self._library, bits=1)) == 1
        classes = self._read(count, _categorical(self._library, escape.CLASS_WEIGHTS))
        rests = np.zeros_like(classes)
        for size in _rest_sizes(classes):
            chosen = classes == size
            rests[chosen] = self._read(int(chosen.sum()), _uniform(self._library, bits=size))
        return below, escape.join(classes, rests)

    def _read(self, count: int, model: Any) -> npt.NDArray[np.int32]:
        try:
            values: npt.NDArray[np.int32] = self._coder.decode(model, count)
        except AssertionError as error:  # the library's word for a point in none of the symbols' intervals
            raise StreamError("the stream is damaged: its coded data is not valid") from error
        self._mirror.encode(values, model)
        # What is settled stays: no more symbols make the code shorter again.
        if 4 * self._mirror.pos()[0] > len(self._data):
            raise StreamError("the stream is damaged: its coded data ends before its symbols do")
        return values


def _by_table(tables: _Ints) -> npt.NDArray[np.intp]:
    # There are at most 2^16 tables in a book, and numpy sorts 16-bit integers in linear time.
    return np.argsort(tables.astype(np.uint16), kind="stable")


def _runs(tables: _Ints) -> Iterator[tuple[int, slice]]:
    """Yield each table of a sorted array with the slice where it stands."""
    starts = np.flatnonzero(np.diff(tables.astype(np.int64), prepend=-1))
    for start, stop in pairwise([*starts.tolist(), tables.size]):
        yield int(tables[start]), slice(start, stop)


def _rest_sizes(classes: _Ints) -> list[int]:
    """Return the classes that have rests, ascending: that is the order in which rests are coded."""
    return [size for size in np.unique(classes).tolist() if size > 0]


def _table_model(library: ModuleType, book: FrequencyTables, table: int) -> Any:
    return _categorical(library, book.table(table) << (_MODEL_PRECISION - PRECISION))


def _categorical(library: ModuleType, weights: _Ints) -> Any:
    """Return the library's model with exactly these integer weights of 2^24: see the module's docstring."""
    return library.stream.model.Categorical(weights - 1.0, perfect=False)


def _uniform(library: ModuleType, *, bits: int) -> Any:
    return library.stream.model.Uniform(1 << bits)


def _reader(library: ModuleType, data: bytes) -> Any:
    # The library would read missing words as zeros too, but does not say so in its documentation.
    padded = data + bytes(8 + -len(data) % 4)
    return library.stream.queue.RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))


def _close(coder: Any) -> bytes:
    """Return as many bytes as surely name a fraction in the interval at which a range encoder has arrived.

    The library itself ends on a whole word, up to seven bytes more than needed. A few intervals hold a shorter
    fraction by luck; it is not taken, so that the length follows from the symbols and tells a decoder of truncation.
    """
    if coder.is_empty():
        return b""
    settled, (lower, width) = coder.pos()
    length = 4 * settled + 8
    words: npt.NDArray[np.uint32] = coder.get_compressed()
    sealed = int.from_bytes(words.astype(">u4").tobytes().ljust(length, b"\0"), "big")
    # What is sealed is less than a word above the interval's start, of which `lower` is the last 64 bits.
    start = sealed - (sealed - lower) % (1 << 64)
    spare = (width.bit_length() - 1) // 8  # an interval at least 256^spare wide holds a multiple of that
    fraction: int = -(-start >> 8 * spare)
    return fraction.to_bytes(length - spare, "big")


@functools.cache
def _library() -> ModuleType:
    """Import constriction and see once that it codes as it did when this format was made."""
    try:
        library = importlib.import_module("constriction")
    except ImportError as error:
        raise MissingDependencyError(f"entropy coding needs 'constriction' ({error}): {_INSTALL}") from error
    if not _codes_as_known(library):
        version = importlib.metadata.version("constriction")
        raise MissingDependencyError(
            f"constriction {version} codes differently from the versions this format is made with: {_INSTALL}"
        )
    return library


def _codes_as_known(library: ModuleType) -> bool:
    try:
        model, uniform = _categorical(library, _KNOWN_WEIGHTS), _uniform(library, bits=5)
        encoder, decoder = library.stream.queue.RangeEncoder(), _reader(library, _KNOWN_BYTES)
        encoder.encode(_KNOWN_SYMBOLS, model)
        encoder.encode(_KNOWN_SYMBOLS, uniform)
        decoded = np.concatenate([decoder.decode(each, _KNOWN_SYMBOLS.size) for each in (model, uniform)])
        return _close(encoder) == _KNOWN_BYTES and np.array_equal(decoded, np.tile(_KNOWN_SYMBOLS, 2))
    except Exception:  # a version with another interface fails in its own way
        return False
