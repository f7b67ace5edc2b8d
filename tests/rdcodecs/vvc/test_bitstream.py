import re

import pytest

from rdcodecs import StreamError
from rdcodecs.ffmpeg import find_ffmpeg
from rdcodecs.process import run_program
from rdcodecs.vvc.bitstream import StreamInfo, mark_odd, read_info

START = b"\x00\x00\x01"
SPS, SLICE = 15, 8


def unit(kind: int, payload: bytes) -> bytes:
    """A NAL unit with start code and emulation prevention."""
    escaped = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)
    return START + bytes([0, kind << 3 | 1]) + escaped


def golomb(value: int) -> str:
    binary = f"{value + 1:b}"
    return "0" * (len(binary) - 1) + binary


def packed(bits: str) -> bytes:
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def aligned(bits: str) -> str:
    return bits + "0" * (-len(bits) % 8)


def sps(
    width,
    height,
    *,
    chroma_idc=1,
    sublayers=1,
    levels="",
    constraints=None,
    sub_profiles=0,
    rpr="0",
    window=(),
):
    """An SPS up to its conformance window, written from the tables of H.266, section 7.3."""
    bits = "0000" + "0000" + f"{sublayers - 1:03b}" + f"{chroma_idc:02b}" + "10" + "1"
    bits += "0000001" + "0" + f"{51:08b}" + "1" + "0"
    bits += "0" if constraints is None else "1" + "01" * 35 + "1" + f"{len(constraints):08b}" + constraints
    bits = aligned(bits)
    bits = aligned(bits + levels)
    bits += f"{51:08b}" * levels.count("1")
    bits += f"{sub_profiles:08b}" + f"{0xDEADBEEF:032b}" * sub_profiles
    bits += "0" + rpr + golomb(width) + golomb(height)
    bits += "1" + "".join(map(golomb, window)) if window else "0"
    return unit(SPS, packed(bits)) + unit(SLICE, b"\x80\x80")


def test_reads_what_vtm_wrote(stream_444, stream_420):
    assert read_info(stream_444) == StreamInfo(33, 31, 444)
    assert read_info(stream_420) == StreamInfo(18, 24, 420, odd_width=True)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (sps(768, 512), StreamInfo(768, 512, 420)),
        (sps(1, 1, chroma_idc=3), StreamInfo(1, 1, 444)),
        (sps(65535, 1000, chroma_idc=0), StreamInfo(65535, 1000, 400)),
        (sps(768, 512, sublayers=4, levels="101"), StreamInfo(768, 512, 420)),
        (sps(768, 512, sublayers=7, levels="000000"), StreamInfo(768, 512, 420)),
        (sps(768, 512, constraints=""), StreamInfo(768, 512, 420)),
        (sps(768, 512, constraints="110101"), StreamInfo(768, 512, 420)),
        (sps(768, 512, sub_profiles=2), StreamInfo(768, 512, 420)),
        (sps(768, 512, rpr="10"), StreamInfo(768, 512, 420)),
        (sps(40, 32, chroma_idc=1, window=(1, 2, 0, 3)), StreamInfo(34, 26, 420)),
        (sps(40, 32, chroma_idc=2, window=(1, 2, 0, 3)), StreamInfo(34, 29, 422)),
        (sps(40, 32, chroma_idc=3, window=(1, 2, 0, 3)), StreamInfo(37, 29, 444)),
    ],
)
def test_reads_every_branch_before_the_size(stream, expected):
    assert read_info(stream) == expected


@pytest.mark.parametrize(
    "stream",
    [
        sps(65535, 40000),
        sps(16384, 16384, chroma_idc=3),
        # Cropped to 64x64, which is no help to a decoder.
        sps(16384, 16384, chroma_idc=3, window=(16320, 0, 16320, 0)),
        # A decoder may take the second.
        sps(64, 64) + sps(16384, 16384),
    ],
)
def test_a_size_over_the_limit_is_refused(stream, monkeypatch):
    monkeypatch.delenv("RDBENCH_MAX_PIXELS", raising=False)
    with pytest.raises(StreamError, match="over the limit of 67108864 pixels"):
        read_info(stream)


def test_a_number_that_does_not_end_is_refused_at_once():
    # A megabyte of zeros where the width should be: read to its end, bit by bit, it takes hours.
    before = "0000" + "0000" + "000" + "01" + "10" + "0" + "0" + "0"
    endless = unit(SPS, packed(before + "0" * 8_000_000 + "1")) + unit(SLICE, b"\x80\x80")
    with pytest.raises(StreamError, match="damaged"):
        read_info(endless)


def test_length_of_the_constraints_agrees_with_another_decoder(stream_420, tmp_path):
    # A real stream gets all general constraints, every one of them off, and 64 reserved bits: were the number
    # of constraints wrong, ffmpeg would find another number of reserved bits, and another size or nothing.
    parts = re.split(rb"(\x00\x00\x01)", stream_420)
    (position,) = (at for at, part in enumerate(parts) if part[1:2] == bytes([SPS << 3 | 1]))
    original = parts[position][2:].rstrip(b"\0").replace(b"\0\0\3", b"\0\0")
    bits = "".join(f"{byte:08b}" for byte in original)
    assert bits[34] == "0", "gci_present_flag of the original"
    with_constraints = aligned(bits[:34] + "1" + "0" * 71 + f"{64:08b}" + "0" * 64) + bits[40:]
    payload = int(with_constraints, 2).to_bytes(len(with_constraints) // 8, "big")
    before, after = b"".join(parts[: position - 1]), b"".join(parts[position + 1 :])
    stream = before + unit(SPS, payload) + after
    assert read_info(stream) == read_info(stream_420)
    assert decoded_by_ffmpeg(stream, tmp_path) == decoded_by_ffmpeg(stream_420, tmp_path)


def decoded_by_ffmpeg(stream, folder) -> bytes:
    source, target = folder / "s.266", folder / "s.yuv"
    source.write_bytes(stream)
    ffmpeg = find_ffmpeg(decoders=["vvc"])
    command = [ffmpeg, "-v", "error", "-y", "-f", "vvc", "-i", source, "-f", "rawvideo", target]
    assert run_program(command, timeout=60) == ""
    return target.read_bytes()


@pytest.mark.parametrize(("width", "height"), [(False, False), (True, False), (False, True), (True, True)])
def test_odd_sides_survive(stream_444, tmp_path, width, height):
    marked = mark_odd(stream_444, odd_width=width, odd_height=height)
    assert len(marked) - len(stream_444) == (6 if width or height else 0)
    assert read_info(marked) == StreamInfo(33, 31, 444, odd_width=width, odd_height=height)
    # Other decoders do not mind it.
    assert decoded_by_ffmpeg(marked, tmp_path) == decoded_by_ffmpeg(stream_444, tmp_path)


def test_a_damaged_stream_is_named(stream_420):
    with pytest.raises(StreamError, match="the stream is empty"):
        read_info(b"")
    with pytest.raises(StreamError, match="not a VVC stream"):
        read_info(bytes(range(256)) * 8)
    with pytest.raises(StreamError, match="truncated: it has no picture"):
        read_info(stream_420[: len(stream_420) // 2])
    with pytest.raises(StreamError, match="parameter set ends early"):
        read_info(unit(SPS, b"\x00\x0d\x02") + unit(SLICE, b"\x80"))
    with pytest.raises(StreamError, match="its size reads -8x32"):
        read_info(sps(40, 32, window=(12, 12, 0, 0)))


def test_every_prefix_is_refused_or_whole(stream_420):
    refused = 0
    for length in range(len(stream_420)):
        try:
            info = read_info(stream_420[:length])
        except StreamError:
            refused += 1
        else:
            assert info == read_info(stream_420)
    assert refused > 50
