"""Ways to damage a stream. Each is a function of random numbers alone, and so the same for the same seed."""

from collections.abc import Callable, Sequence
from random import Random

from forged_streams import sealed, split

Damage = Callable[[bytes, Random], bytes]

_HEADER = 64
"""Bytes at a stream's start in which the formats keep what they say of the picture."""


def _flip(data: bytes, random: Random, count: int) -> bytes:
    made = bytearray(data)
    for _ in range(count):
        bit = random.randrange(8 * len(made))
        made[bit // 8] ^= 1 << bit % 8
    return bytes(made)


def _range(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data))
    return start, random.randint(start + 1, min(len(data), start + random.choice((1, 4, 32, 10_000))))


def _one_bit(data: bytes, random: Random) -> bytes:
    return _flip(data, random, 1)


def _some_bits(data: bytes, random: Random) -> bytes:
    return _flip(data, random, random.randint(2, 16))


def _truncated(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def _inserted(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.randbytes(random.choice((1, 2, 16, 300))) + data[at:]


def _removed(data: bytes, random: Random) -> bytes:
    start, stop = _range(data, random)
    return data[:start] + data[stop:]


def _swapped(data: bytes, random: Random) -> bytes:
    first, second, third = sorted(random.randint(0, len(data)) for _ in range(3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def _repeated(data: bytes, random: Random) -> bytes:
    start, stop = _range(data, random)
    return data[:stop] + data[start:stop] * random.choice((1, 2, 50)) + data[stop:]


def _overwritten(data: bytes, random: Random) -> bytes:
    start, stop = _range(data, random)
    value = random.choice((b"\0", b"\xff", None))
    return data[:start] + (random.randbytes(stop - start) if value is None else value * (stop - start)) + data[stop:]


def _header(data: bytes, random: Random) -> bytes:
    """One field of the header gets an extreme value."""
    at = random.randrange(min(_HEADER, len(data)))
    value = random.choice((b"\0\0", b"\xff\xff", b"\x7f\xff", b"\x80\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x40\0"))
    return data[:at] + value + data[at + len(value) :]


def _noise(data: bytes, random: Random) -> bytes:
    keep = random.choice((0, 0, 8, 24))
    return data[:keep] + random.randbytes(random.choice((0, 1, 9, len(data), 3000)))


DAMAGES: dict[str, Damage] = {
    "one bit": _one_bit,
    "some bits": _some_bits,
    "truncated": _truncated,
    "inserted": _inserted,
    "removed": _removed,
    "swapped": _swapped,
    "repeated": _repeated,
    "overwritten": _overwritten,
    "header": _header,
    "noise": _noise,
}
"""Name → what makes of a stream, not empty, another."""


def joined(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Return two streams one after the other, or the beginning of one and the end of the other."""
    other = random.choice(others)
    if random.random() < 0.5:
        return data + other
    return data[: random.randrange(len(data))] + other[random.randrange(len(other)) :]


def forged(data: bytes, digest: bytes, random: Random) -> bytes:
    """Return a learned stream of which something was changed, and the checksum made right."""
    header, payload = split(data)
    what = random.randrange(4)
    if what == 0:  # level and flags
        header = header[:1] + bytes([random.randrange(256)]) + header[2:]
    elif what == 1:  # the size
        header = _sized(header, random)
    elif payload:
        payload = DAMAGES[random.choice(sorted(DAMAGES))](payload, random)
        if what == 3:
            header = header[:1] + bytes([random.randrange(256)]) + header[2:]
    return sealed(digest, header, payload)


def _sized(header: bytes, random: Random) -> bytes:
    length = random.choice((3, 3, 3, 4, 5))
    bits = 4 * length - 1
    most = random.choice((0, 100, 2000, (1 << bits) - 1))
    # No more than 65535 a side fits the format.
    sides = [min(random.randint(0, most), (1 << bits) - 1, 65535 - 16) for _ in range(2)]
    return header[:2] + ((length - 3) << 2 * bits | sides[0] << bits | sides[1]).to_bytes(length, "big")
