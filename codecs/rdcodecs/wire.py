"""What a codec's host and the harness say to each other: a line of JSON, then as many raw bytes as the line says.

Nothing else travels (no pickles), so that the two ends may be different interpreters. Pixels do not travel here at all:
they lie in a file that both ends map into memory.
"""

import json
import math
import os
from typing import Any

PROTOCOL = 1
"""Version of what is said. A host answers a request of another version with an error."""

LONGEST_HEADER = 16 * 2**20
"""Longest line, in bytes: what is longer is no message."""

Header = dict[str, Any]

# Kept from before any codec is imported, which may replace what it finds in these modules.
_ENCODE = json.JSONEncoder(ensure_ascii=True).encode
_DECODE = json.JSONDecoder().decode
_READ = os.read
_WRITE = os.write
_CHUNK = 1 << 16


class WireError(Exception):
    """What came is not a message."""


def pack(header: Header, payload: bytes = b"") -> bytes:
    """Return a message as it travels. Raises `TypeError` or `ValueError` where `header` is not plain JSON."""
    return _ENCODE({**header, "protocol": PROTOCOL, "bytes": len(payload)}).encode() + b"\n" + payload


class Incoming:
    """Puts messages together from the pieces in which they arrive."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._header: Header | None = None

    def feed(self, piece: bytes) -> None:
        """Add what has arrived."""
        self._data += piece

    def take(self) -> tuple[Header, bytes] | None:
        """Return the next message, or None while it is not complete.

        Raises:
            WireError: what has arrived is not a message.
        """
        if self._header is None:
            end = self._data.find(b"\n")
            if end < 0 and len(self._data) <= LONGEST_HEADER:
                return None
            if end < 0 or end > LONGEST_HEADER:
                raise WireError("a line without an end")
            try:
                header = _DECODE(self._data[:end].decode())
            except ValueError as error:
                raise WireError("a line that is not JSON") from error
            if not isinstance(header, dict) or not isinstance(header.get("bytes"), int) or header["bytes"] < 0:
                raise WireError("a line that is no header")
            del self._data[: end + 1]
            self._header = header
        size = self._header["bytes"]
        if len(self._data) < size:
            return None
        header, payload = self._header, bytes(self._data[:size])
        del self._data[:size]
        self._header = None
        return header, payload


def is_answer(header: Header) -> bool:
    """Whether a header is what a host answers with: a codec that writes to every descriptor may have sent it."""
    if "error" in header:
        return isinstance(header["error"], dict)
    seconds, shape = header.get("seconds", 0.0), header.get("shape", [])
    return (
        header.get("protocol") == PROTOCOL
        and isinstance(seconds, int | float)
        and math.isfinite(seconds)
        and isinstance(shape, list)
        and all(isinstance(side, int) for side in shape)
        and isinstance(header.get("description", {}), dict)
    )


def receive(descriptor: int, incoming: Incoming) -> tuple[Header, bytes] | None:
    """Wait for the next message; None where the other end is gone."""
    while (message := incoming.take()) is None:
        piece = _READ(descriptor, _CHUNK)
        if not piece:
            return None
        incoming.feed(piece)
    return message


def send(descriptor: int, message: bytes) -> None:
    """Write a whole message."""
    view = memoryview(message)
    while view:
        view = view[_WRITE(descriptor, view) :]
