"""The file format of the learned codecs: a header of 7 bytes up to 2063 pixels per side, then the coded data.

======== ==================================================================================================
bits     content
======== ==================================================================================================
4        1011, which begins no common image format and no text
2        version of the format
2        kind of codec
4        level
4        flags
24 to 40 size: 2 bits n (0, 1, 2), then width - 16 and height - 16 with 11 + 4 n bits each
16       CRC-16 of the digest of the model, the bytes above, and the coded data
======== ==================================================================================================

The digest itself is not in the file: it costs nothing, and a stream that was made with other weights is refused all
the same. The check is CRC-16/CCITT-FALSE (polynomial 0x1021, initial value 0xFFFF).
"""

from binascii import crc_hqx
from dataclasses import dataclass
from typing import Final

from rdcodecs.codec import MIN_SIDE, EncodeError, StreamError, check_pixels

MAX_SIDE: Final = 65535
"""Largest width and height, in pixels, of a stream."""

_MARK: Final = 0b1011
_VERSION: Final = 0
_KINDS: Final = ("hyperprior", "perco")
_SIZE_LENGTHS: Final = (3, 4, 5)  # bytes
_CRC_BYTES: Final = 2


@dataclass(frozen=True)
class Stream:
    """A learned codec's file.

    Attributes:
        kind: "hyperprior" (which the codecs hyperprior and fusion share: one stream serves both) or "perco".
        level: the rate point, 0 to 15.
        width: of the image, 16 to 65535 pixels.
        height: of the image, 16 to 65535 pixels.
        payload: the coded data.
        flags: four bits for the codec's own use, 0 to 15.
    """

    kind: str
    level: int
    width: int
    height: int
    payload: bytes
    flags: int = 0


def write_stream(stream: Stream, digest: bytes) -> bytes:
    """Return the file's bytes.

    Args:
        stream: what to write.
        digest: names the weights that the stream was made with; a reader must give the same.

    Raises:
        EncodeError: the image is too small or too large, for the format or for `max_pixels`.
        ValueError: there is no such kind, or a level or flags have more than four bits.
    """
    if stream.kind not in _KINDS:
        raise ValueError(f"kind '{stream.kind}' must be one of {', '.join(_KINDS)}")
    if not (0 <= stream.level < 16 and 0 <= stream.flags < 16):
        raise ValueError(f"level {stream.level} and flags {stream.flags} must be 0 to 15")
    if min(stream.width, stream.height) < MIN_SIDE or max(stream.width, stream.height) > MAX_SIDE:
        raise EncodeError(
            f"the image is {stream.width}x{stream.height}: both sides must be {MIN_SIDE} to {MAX_SIDE} pixels"
        )
    check_pixels(stream.width, stream.height, EncodeError, "the image")
    first = _MARK << 4 | _VERSION << 2 | _KINDS.index(stream.kind)
    header = bytes([first, stream.level << 4 | stream.flags]) + _pack_size(stream.width, stream.height)
    return header + _checksum(digest, header, stream.payload) + stream.payload


def read_stream(data: bytes, kind: str, digest: bytes, *, levels: int = 16, flags: int = 15) -> Stream:
    """Read a file that `write_stream` made, whose checksum anybody can make right.

    Nothing is allocated but a copy of the bytes.

    Args:
        data: the whole file.
        kind: the kind of codec that asks.
        digest: names the weights that the codec has.
        levels: number of rate levels that the codec has.
        flags: the bits of the flags that the codec uses.

    Raises:
        StreamError: the file is empty, truncated, damaged, of another codec, of a newer version, was made with
            other weights, or has a level, flags or a size (see `max_pixels`) that are not to be decoded.
    """
    if not data:
        raise StreamError("the stream is empty")
    if data[0] >> 4 != _MARK:
        raise StreamError(f"not a {kind} stream: it does not begin like one")
    version, code = data[0] >> 2 & 3, data[0] & 3
    if version > _VERSION or code >= len(_KINDS):
        raise StreamError("the stream is of a newer format than this version reads: update rdbench, or it is damaged")
    if _KINDS[code] != kind:
        raise StreamError(f"not a {kind} stream but a {_KINDS[code]} one: decode it with that codec")
    if len(data) < 3 or len(data) < (start := 2 + _size_length(data[2]) + _CRC_BYTES):
        raise StreamError(f"the {kind} stream is truncated: it ends within its header, after {len(data)} bytes")
    header, check, payload = data[: start - _CRC_BYTES], data[start - _CRC_BYTES : start], data[start:]
    width, height = _unpack_size(header[2:])
    if max(width, height) > MAX_SIDE:
        raise StreamError(f"the {kind} stream is damaged: its size reads {width}x{height}")
    if check != _checksum(digest, header, payload):
        raise StreamError(f"the {kind} stream is damaged, truncated, or was made with other weights")
    level, flagged = data[1] >> 4, data[1] & 15
    if level >= levels or flagged & ~flags:
        raise StreamError(f"the {kind} stream is damaged: its level reads {level}, its flags {flagged}")
    check_pixels(width, height, StreamError, f"the {kind} stream's picture")
    return Stream(kind, level, width, height, payload, flagged)


def _checksum(digest: bytes, header: bytes, payload: bytes) -> bytes:
    crc = 0xFFFF
    for part in (digest, header, payload):
        crc = crc_hqx(part, crc)
    return crc.to_bytes(_CRC_BYTES, "big")


def _pack_size(width: int, height: int) -> bytes:
    sides = width - MIN_SIDE, height - MIN_SIDE
    length = next(length for length in _SIZE_LENGTHS if max(sides) < 1 << _side_bits(length))
    bits = _side_bits(length)
    return ((length - _SIZE_LENGTHS[0]) << 2 * bits | sides[0] << bits | sides[1]).to_bytes(length, "big")


def _size_length(first: int) -> int:
    return _SIZE_LENGTHS[0] + (first >> 6)


def _side_bits(length: int) -> int:
    return 4 * length - 1  # half of what the two bits in front leave


def _unpack_size(field: bytes) -> tuple[int, int]:
    value, bits = int.from_bytes(field, "big"), _side_bits(len(field))
    mask = (1 << bits) - 1
    return (value >> bits & mask) + MIN_SIDE, (value & mask) + MIN_SIDE
