"""Learned streams that no encoder wrote, with a checksum that is right all the same."""

from binascii import crc_hqx

KINDS = ("hyperprior", "perco")


def forge(
    digest: bytes,
    *,
    kind: str = "hyperprior",
    level: int = 0,
    flags: int = 0,
    size: tuple[int, int] = (64, 64),
    payload: bytes = b"",
) -> bytes:
    """The format as rdcodecs/stream.py documents it, and none of its checks; `size` is (width, height)."""
    sides = size[0] - 16, size[1] - 16
    length = next(number for number in (3, 4, 5) if max(sides) < 1 << (4 * number - 1))
    bits = 4 * length - 1
    packed = ((length - 3) << 2 * bits | sides[0] << bits | sides[1]).to_bytes(length, "big")
    header = bytes([0b1011_0000 | KINDS.index(kind), level << 4 | flags]) + packed
    return sealed(digest, header, payload)


def sealed(digest: bytes, header: bytes, payload: bytes) -> bytes:
    """Header and payload with the checksum between them that they should have."""
    return header + crc_hqx(digest + header + payload, 0xFFFF).to_bytes(2, "big") + payload


def split(data: bytes) -> tuple[bytes, bytes]:
    """Header, without its checksum, and payload."""
    end = 5 + (data[2] >> 6)
    return data[:end], data[end + 2 :]
