"""The size that a WebP or a JPEG XL file says its picture has, read before a decoder takes memory for it.

WebP's is in RFC 9649, sections 2.5 to 2.7; JPEG XL's in ISO/IEC 18181-1, the SizeHeader.
"""

from typing import Final

from rdcodecs.codec import StreamError

_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the SizeHeader's ratio less one."""
_SIDE_BITS: Final = (9, 13, 18, 30)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) of a WebP file in pixels, `None` where it does not begin like one."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        return _little(body[6:8]) & 0x3FFF, _little(body[8:10]) & 0x3FFF
    if kind == b"VP8X" and len(body) == 10:
        return _little(body[4:7]) + 1, _little(body[7:10]) + 1
    if kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = _little(body[1:5])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def jxl_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) of a bare JPEG XL codestream in pixels, `None` where it does not begin like one.

    Raises:
        StreamError: it is a container, which may hold the codestream in pieces or compressed.
    """
    if data[4:8] == b"JXL ":
        raise StreamError("not a bare JPEG XL codestream but a container")
    if data[:2] != b"\xff\x0a" or len(data) < 12:
        return None
    value, position = _little(data[2:12]), 0

    def read(count: int) -> int:
        nonlocal position
        position += count
        return value >> (position - count) & ((1 << count) - 1)

    small = read(1)

    def side() -> int:
        return 8 * (read(5) + 1) if small else read(_SIDE_BITS[read(2)]) + 1

    height = side()
    ratio = read(3)
    if ratio == 0:
        return side(), height
    numerator, denominator = _RATIOS[ratio - 1]
    return height * numerator // denominator, height


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
