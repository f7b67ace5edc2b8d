"""The coder against an exact one in Python's integers, against known bytes, and against damage."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdcodecs import EncodeError, MissingDependencyError, StreamError
from rdcodecs.entropy import Decoder, Encoder, FrequencyTables, coder, counted_tables, gaussian_tables, uniform_table
from rdcodecs.stream import Stream, write_stream

Ints = npt.NDArray[np.integer]

SCALES = np.geomspace(0.11, 64, 32)
BOOK = gaussian_tables(SCALES)


def encode(symbols: Ints, tables: Ints, book: FrequencyTables) -> bytes:
    encoder = Encoder()
    encoder.put(symbols, tables, book)
    return encoder.finish()


def decode(data: bytes, tables: Ints, book: FrequencyTables) -> npt.NDArray[np.int32]:
    decoder = Decoder(data)
    symbols = decoder.get(tables, book)
    decoder.finish()
    return symbols


def draw(rng: np.random.Generator, tables: Ints, book: FrequencyTables) -> npt.NDArray[np.int64]:
    """Symbols with the tables' own probabilities; what is drawn as an escape is one above the support."""
    symbols = np.empty(tables.size, dtype=np.int64)
    for table in np.unique(tables):
        chosen = tables == table
        frequencies = book.table(int(table))
        symbols[chosen] = rng.choice(frequencies.size, chosen.sum(), p=frequencies / 65536) + book.lows[table]
    return symbols


def exact_range_code(intervals: list[tuple[int, int]]) -> bytes:
    """Range coding in whole numbers: (lower end, width) of each symbol, of 2^24, to the fewest bytes that always do.

    The carries that a coder of 64 bits has to juggle are those of Python's integers here.
    """
    low, width, length = 0, (1 << 64) - 1, 8
    for start, size in intervals:
        unit = width >> 24
        low, width = low + unit * start, unit * size
        if width < 1 << 32:
            low, width, length = low << 32, width << 32, length + 4
    if not intervals:
        return b""
    step = next(step for step in (1 << 8 * spare for spare in range(8, -1, -1)) if step <= width)
    return ((low + step - 1) // step).to_bytes(length - (step.bit_length() - 1) // 8, "big")


@st.composite
def books(draw: st.DrawFn) -> FrequencyTables:
    histogram = st.lists(st.integers(0, 10**6), min_size=1, max_size=9)
    return counted_tables(draw(st.lists(st.tuples(st.integers(-20, 20), histogram), min_size=1, max_size=5)))


@settings(max_examples=150, deadline=None)
@given(st.data(), books(), st.integers(0, 400))
def test_the_bytes_are_those_of_exact_range_coding(data: st.DataObject, book: FrequencyTables, count: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    tables = rng.integers(0, len(book), count)
    # Within the support, and any of it as likely: rare symbols, which carry, come as often as others.
    symbols = book.lows[tables] + rng.integers(0, book.sizes[tables] - 1)
    intervals = []
    for index in np.argsort(tables, kind="stable"):
        frequencies, place = book.table(int(tables[index])).tolist(), int(symbols[index] - book.lows[tables[index]])
        intervals.append((sum(frequencies[:place]) << 8, frequencies[place] << 8))
    assert encode(symbols, tables, book) == exact_range_code(intervals)


def test_escapes_are_coded_as_documented() -> None:
    book = uniform_table(2)
    data = encode(np.array([0, 5, -1, 1, 9]), np.zeros(5, dtype=np.int64), book)
    half, escape = 32768 << 8, 1 << 8
    zero, one, outside = (0, half), (half, half - escape), ((1 << 24) - escape, escape)
    above, below = (0, 1 << 23), (1 << 23, 1 << 23)
    classes = {0: (0, 1 << 23), 1: (1 << 23, 1 << 22), 2: (3 << 22, 1 << 21), 3: (7 << 21, 1 << 20)}
    # Distances 3, 0 and 7 beyond the support: classes 2, 0 and 3, all with rest 0.
    rests = [(0, 1 << 22), (0, 1 << 21)]
    intervals = [zero, outside, outside, one, outside, above, below, above, classes[2], classes[0], classes[3], *rests]
    assert data == exact_range_code(intervals)


@settings(max_examples=100, deadline=None)
@given(st.data(), books())
def test_any_symbols_in_any_books_come_back(data: st.DataObject, book: FrequencyTables) -> None:
    limit = (1 << 20) - 1
    symbol = st.one_of(st.integers(-30, 30), st.integers(-limit, limit))
    table = st.integers(0, len(book) - 1)
    parts = data.draw(st.lists(st.lists(st.tuples(symbol, table), max_size=30), max_size=4))
    arrays = [np.array(part, dtype=np.int64).reshape(-1, 2).T for part in parts]
    encoder = Encoder()
    for symbols, tables in arrays:
        encoder.put(symbols, tables, book)
    decoder = Decoder(encoder.finish())
    for symbols, tables in arrays:
        decoded = decoder.get(tables, book)
        assert decoded.dtype == np.int32
        np.testing.assert_array_equal(decoded, symbols)
    decoder.finish()


def test_later_tables_may_depend_on_earlier_symbols() -> None:
    rng = np.random.default_rng(4)
    hyper, main = counted_tables([(0, [5, 3, 2, 1])] * 3), gaussian_tables([0.3, 1, 3, 9])
    channels = np.arange(3).repeat(10)
    z = rng.integers(0, 4, 30)
    y = np.rint(rng.normal(scale=np.array([0.3, 1, 3, 9])[z])).astype(np.int32)
    encoder = Encoder()
    encoder.put(z, channels, hyper)
    encoder.put(y, z, main)
    decoder = Decoder(encoder.finish())
    tables = decoder.get(channels, hyper)
    np.testing.assert_array_equal(tables, z)
    np.testing.assert_array_equal(decoder.get(tables, main), y)
    decoder.finish()


# Integers, not made from a distribution: these bytes depend on nothing but the format.
FIXED = FrequencyTables(
    lows=np.array([-1, -3, 0]),
    sizes=np.array([4, 8, 3]),
    frequencies=np.array([3000, 59535, 3000, 1, 500, 4000, 16000, 25000, 15530, 4000, 500, 6, 65530, 5, 1]),
)


@pytest.mark.parametrize(
    ("symbols", "tables", "expected"),
    [
        ([], [], ""),
        ([0], [2], "00"),
        ([3, -1, 0, 2, -3, 1, 0, 0], [1, 0, 0, 1, 1, 2, 0, 2], "0ab0501534"),
        ([(1 << 20) - 1, 1 - (1 << 20), 7, -7], [0, 1, 0, 1], "fffffffffe0000e4fdfffb91ffab35bfee07f8"),
        (
            [index * index * 7 % 11 % 5 - 2 for index in range(60)],
            [index % 2 for index in range(60)],
            "ffff0b2e9d2956f4bd9a9510789ce35ba852c04a2ac6330c28a8713970bf08d80cc4",
        ),
    ],
)
def test_known_symbols_have_known_bytes(symbols: list[int], tables: list[int], expected: str) -> None:
    arrays = np.array(symbols, dtype=np.int64), np.array(tables, dtype=np.int64)
    assert encode(*arrays, FIXED).hex() == expected
    np.testing.assert_array_equal(decode(bytes.fromhex(expected), arrays[1], FIXED), symbols)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5000), st.integers(0, 31), st.integers(1, 32))
def test_a_file_is_at_most_two_percent_and_eight_bytes_above_its_entropy(
    seed: int, count: int, first: int, spread: int
) -> None:
    rng = np.random.default_rng(seed)
    tables = rng.integers(first, min(first + spread, 32), count)
    symbols = draw(rng, tables, BOOK)
    data = write_stream(Stream("hyperprior", 3, 512, 512, encode(symbols, tables, BOOK)), b"weights")
    assert len(data) <= 1.02 * BOOK.bits(symbols, tables) / 8 + 8


@pytest.mark.parametrize("busy", [0.002, 0.02, 0.2])
def test_a_whole_latent_is_as_near_its_entropy(busy: float) -> None:
    # 32x32x128 symbols of which most are near certain, as at 0.01 to 0.4 bpp.
    rng = np.random.default_rng(5)
    tables = np.where(rng.random(131072) < busy, rng.integers(5, 25, 131072), rng.integers(0, 3, 131072))
    symbols = draw(rng, tables, BOOK)
    data = encode(symbols, tables, BOOK)
    assert len(data) <= 1.01 * BOOK.bits(symbols, tables) / 8 + 1
    np.testing.assert_array_equal(decode(data, tables, BOOK), symbols)


def test_any_integer_type_gives_the_same_bytes() -> None:
    symbols, tables = np.array([3, 0, 200, 1]), np.array([1, 0, 1, 0])
    book = counted_tables([(0, [4, 2]), (0, [1, 1, 1, 1])])
    expected = encode(symbols, tables, book)
    for kind in (np.uint8, np.int16, np.uint64):
        assert encode(symbols.astype(kind), tables.astype(kind), book) == expected
        np.testing.assert_array_equal(decode(expected, tables.astype(kind), book), symbols)


def test_threads_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(6)
    tables = rng.integers(0, 32, 20000)
    parts = [draw(rng, tables, BOOK) for _ in range(6)]
    alone = [encode(symbols, tables, BOOK) for symbols in parts]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda symbols: encode(symbols, tables, BOOK), parts))
        decoded = list(pool.map(lambda data: decode(data, tables, BOOK), together))
    assert together == alone
    np.testing.assert_array_equal(decoded, parts)


def test_a_symbol_too_large_is_refused() -> None:
    with pytest.raises(EncodeError, match="magnitude 1048576 cannot be coded: it must be below 1048576"):
        encode(np.array([1 << 20]), np.array([0]), BOOK)


def test_a_table_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="outside 0 to 31"):
        Decoder(b"").get(np.array([32]), BOOK)


def sample() -> tuple[Ints, Ints, bytes]:
    rng = np.random.default_rng(7)
    tables = rng.integers(0, 32, 500)
    symbols = draw(rng, tables, BOOK)
    return symbols, tables, encode(symbols, tables, BOOK)


def test_bytes_that_are_missing_or_left_over_are_noticed() -> None:
    _, tables, data = sample()
    others = [data[:length] for length in range(len(data))] + [data + extra for extra in (b"\0", b"\1", bytes(40))]
    for other in others:
        with pytest.raises(StreamError, match="the stream is damaged"):
            decode(other, tables, BOOK)


def test_symbols_that_were_not_got_are_noticed() -> None:
    _, tables, data = sample()
    with pytest.raises(StreamError, match="do not end where the stream does"):
        decode(data, tables[:400], BOOK)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 300), books())
def test_any_bytes_decode_or_are_refused(data: bytes, count: int, book: FrequencyTables) -> None:
    tables = np.arange(count) % len(book)
    try:
        symbols = decode(data, tables, book)
    except StreamError:
        return
    assert encode(symbols, tables, book) == data


def test_a_damaged_escape_beyond_the_limit_is_refused() -> None:
    # A book whose symbols end at the limit leaves room for a distance that would pass it.
    book = counted_tables([((1 << 20) - 1, [0])])
    messages = set()
    for first in range(256):
        try:
            Decoder(bytes([first, 255, 255, 255])).get(np.zeros(2, dtype=np.int64), book)
        except StreamError as error:
            messages.add(str(error).rstrip("0123456789"))
    assert "the stream is damaged: it has a symbol of magnitude " in messages


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    coder._library.cache_clear()
    with pytest.raises(MissingDependencyError, match=r'pip install "constriction>=0.4,<0.6"'):
        Encoder()


@pytest.mark.parametrize("known", [coder._KNOWN_BYTES[:-1], b"\xff" + coder._KNOWN_BYTES[1:]])
def test_a_library_that_codes_differently_is_refused(monkeypatch: pytest.MonkeyPatch, known: bytes) -> None:
    monkeypatch.setattr(coder, "_KNOWN_BYTES", known)
    coder._library.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"constriction \S+ codes differently .*constriction>=0.4,<0.6"):
        Decoder(b"")


def test_a_library_with_another_interface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_perfect(probabilities: Any) -> None:
        """The constructor of constriction 0.3."""

    monkeypatch.setattr(coder._library().stream.model, "Categorical", without_perfect)
    coder._library.cache_clear()
    with pytest.raises(MissingDependencyError, match="codes differently"):
        Encoder()
