"""The learned codecs' header: what it costs, and what it refuses."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forged_streams import forge
from rdcodecs import EncodeError, StreamError
from rdcodecs.stream import Stream, read_stream, write_stream

DIGEST = bytes(range(32))
SAMPLE = Stream(
    "hyperprior", 5, 512, 384, bytes(np.random.default_rng(0).integers(0, 256, 60, dtype=np.uint8)), flags=9
)
DATA = write_stream(SAMPLE, DIGEST)


@pytest.fixture(scope="module", autouse=True)
def all_sizes() -> Iterator[None]:
    """The format itself goes up to 65535 a side; the limit on pixels is for tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RDBENCH_MAX_PIXELS", str(65535**2))
        yield


def reason(data: bytes, kind: str = "hyperprior", digest: bytes = DIGEST) -> str:
    with pytest.raises(StreamError) as caught:
        read_stream(data, kind, digest)
    message = str(caught.value)
    assert "\n" not in message
    return message


sides = st.one_of(st.integers(16, 3000), st.integers(16, 65535))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["hyperprior", "perco"]),
    st.integers(0, 15),
    st.integers(0, 15),
    sides,
    sides,
    st.binary(max_size=40),
)
def test_what_is_written_is_read(kind: str, level: int, flags: int, width: int, height: int, payload: bytes) -> None:
    stream = Stream(kind, level, width, height, payload, flags)
    assert read_stream(write_stream(stream, DIGEST), kind, DIGEST) == stream


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(512, 512, 7), (768, 512, 7), (16, 16, 7), (2063, 2063, 7), (2064, 16, 8), (32783, 32783, 8), (65535, 65535, 9)],
)
def test_the_header_is_short(width: int, height: int, expected: int) -> None:
    header = write_stream(replace(SAMPLE, width=width, height=height, payload=b""), DIGEST)
    assert len(header) == expected <= 9
    assert read_stream(header, "hyperprior", DIGEST).payload == b""


def test_the_layout_is_as_documented() -> None:
    header = DATA[:7]
    assert header[0] == 0b1011_00_00
    assert header[1] == 5 << 4 | 9
    assert int.from_bytes(header[2:5], "big") == (512 - 16) << 11 | (384 - 16)
    # CRC-16/CCITT-FALSE bit by bit.
    crc = 0xFFFF
    for byte in DIGEST + DATA[:5] + DATA[7:]:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    assert header[5:] == crc.to_bytes(2, "big")


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << bit % 8
        reason(bytes(damaged))


def test_every_truncation_is_refused() -> None:
    assert reason(b"") == "the stream is empty"
    for length in range(1, 7):
        assert reason(DATA[:length]) == (
            f"the hyperprior stream is truncated: it ends within its header, after {length} bytes"
        )
    for length in range(7, len(DATA)):
        assert reason(DATA[:length]) == "the hyperprior stream is damaged, truncated, or was made with other weights"


def test_bytes_added_are_refused() -> None:
    for extra in (b"\0", b"\xff", DATA):
        assert "damaged" in reason(DATA + extra)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=64))
def test_random_bytes_are_refused(data: bytes) -> None:
    reason(data)


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF....WEBP", b"\0\0\1\x40", b"text", b"\0"]
)
def test_foreign_files_are_refused(data: bytes) -> None:
    assert reason(data, "perco") == "not a perco stream: it does not begin like one"


def test_a_stream_of_another_kind_is_refused() -> None:
    assert reason(DATA, "perco") == "not a perco stream but a hyperprior one: decode it with that codec"


@pytest.mark.parametrize("first", [0b1011_01_00, 0b1011_11_01, 0b1011_00_10])
def test_a_newer_stream_is_refused(first: int) -> None:
    assert "update rdbench" in reason(bytes([first]) + DATA[1:])


def test_an_absurd_size_is_refused() -> None:
    width, height = 65536 - 16, 0
    field = (2 << 38 | width << 19 | height).to_bytes(5, "big")
    assert reason(DATA[:2] + field + DATA[5:]) == "the hyperprior stream is damaged: its size reads 65536x16"


def test_other_weights_are_refused() -> None:
    for digest in (b"", DIGEST[:-1], DIGEST[::-1], DIGEST + b"\0"):
        assert "made with other weights" in reason(DATA, digest=digest)


@pytest.mark.parametrize(("width", "height"), [(15, 64), (64, 15), (65536, 64), (64, 65536), (0, -1)])
def test_an_image_too_small_or_too_large_is_refused(width: int, height: int) -> None:
    with pytest.raises(EncodeError, match=f"{width}x{height}: both sides must be 16 to 65535 pixels"):
        write_stream(replace(SAMPLE, width=width, height=height), DIGEST)


def test_what_has_no_place_in_the_header_is_refused() -> None:
    with pytest.raises(ValueError, match="level 16 and flags 0"):
        write_stream(Stream("perco", 16, 64, 64, b""), DIGEST)
    with pytest.raises(ValueError, match="level 0 and flags -1"):
        write_stream(Stream("perco", 0, 64, 64, b"", flags=-1), DIGEST)
    with pytest.raises(ValueError, match="kind 'vtm' must be one of hyperprior, perco"):
        write_stream(Stream("vtm", 0, 64, 64, b""), DIGEST)


@pytest.mark.parametrize("size", [(65535, 65535), (8193, 8192), (65535, 1025)])
def test_a_size_over_the_limit_is_refused(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDBENCH_MAX_PIXELS")
    said = f"{size[0]}x{size[1]}, over the limit of 67108864 pixels: RDBENCH_MAX_PIXELS={size[0] * size[1]}"
    assert said in reason(forge(DIGEST, size=size))
    with pytest.raises(EncodeError, match=said):
        write_stream(replace(SAMPLE, width=size[0], height=size[1]), DIGEST)
    monkeypatch.setenv("RDBENCH_MAX_PIXELS", str(size[0] * size[1]))
    assert read_stream(forge(DIGEST, size=size), "hyperprior", DIGEST).width == size[0]


def test_a_size_at_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDBENCH_MAX_PIXELS")
    assert read_stream(forge(DIGEST, size=(8192, 8192)), "hyperprior", DIGEST).height == 8192


@pytest.mark.parametrize("kind", ["hyperprior", "perco"])
def test_levels_and_flags_that_the_codec_has_not_are_refused(kind: str) -> None:
    for level in range(16):
        for flags in range(16):
            data = forge(DIGEST, kind=kind, level=level, flags=flags)
            if level < 5 and flags in (0, 1, 4, 5):
                assert read_stream(data, kind, DIGEST, levels=5, flags=5).level == level
            else:
                with pytest.raises(StreamError, match=f"its level reads {level}, its flags {flags}"):
                    read_stream(data, kind, DIGEST, levels=5, flags=5)
