"""Digests that say whether two things are the same."""

import hashlib
import json
from typing import Any

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def canonical_json(value: Any) -> str:
    """Return `value` as JSON that is the same text for the same content."""
    return _JSON.encode(value)


def digest(value: Any, *, length: int = 12) -> str:
    """Return the first `length` hex digits of the SHA-256 of `value`'s canonical JSON."""
    return _sha256(canonical_json(value))[:length]


def encode_key(image: str, fingerprint: str, rate: float) -> str:
    """Return the key of one bitstream: image digest, codec fingerprint, rate."""
    return _sha256(f"{image} {fingerprint} {float(rate)!r}")[:24]


def cell_key(encode: str, decode_options: str) -> str:
    """Return the key of one cell: a bitstream (`encode_key`) and how it is decoded (canonical JSON)."""
    return _sha256(f"{encode} {decode_options}")[:24]


def _sha256(text: str) -> str:
    # File names that are not UTF-8 come with lone surrogates.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
