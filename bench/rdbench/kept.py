"""Bitstreams and reconstructions that a run keeps (`rdbench run --keep`): where they lie, writing, finding.

A file is named after what it holds: its name ends in the key of its content (`keys.encode_key` of a bitstream,
`keys.cell_key` of a reconstruction), a column of records.csv. What stands before the key is for people and says which
codec, image and rate it is; nothing relies on it, so names that look alike, or that a file system would not take,
never share a file. Labels are not in it: two labels that ask for the same cell share its files.
"""

import hashlib
import os
from pathlib import Path

from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.files import atomic_bytes, check_inside, make_folder, write_bytes
from rdcodecs import Image

STREAMS, RECONSTRUCTIONS = "streams", "reconstructions"
_SLUG_BYTES = 48
"""Most bytes of a name that a file's name repeats; names of 255 bytes are the longest that file systems take."""


def stream_path(keep: Path, cell: Cell) -> Path:
    """Return where a cell's bitstream is kept, below the results folder `keep`. Cells of one stream have one file."""
    return _folder(keep, STREAMS, cell) / f"{_image(cell)}-{cell.encode_key}.bin"


def reconstruction_path(keep: Path, cell: Cell) -> Path:
    """Return where a cell's reconstruction is kept, below the results folder `keep`."""
    return _folder(keep, RECONSTRUCTIONS, cell) / f"{_image(cell)}-{cell.key}.png"


def keep_stream(keep: Path, cell: Cell, data: bytes) -> None:
    """Keep a bitstream, as a whole or not at all.

    Raises:
        OutsideError: a link in the results folder leads out of it.
        OSError: the file cannot be written.
    """
    path = stream_path(keep, cell)
    make_folder(keep, path.parent)
    write_bytes(path, data)


def kept_stream(keep: Path, cell: Cell, digest: str) -> bytes | None:
    """Return the bitstream that was kept of a cell, or None where there is none whose SHA-256 is `digest`."""
    try:
        data = stream_path(keep, cell).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None


def keep_reconstruction(keep: Path, cell: Cell, image: Image) -> None:
    """Keep a reconstruction, uint8 (H, W, 3), as a PNG file, as a whole or not at all.

    Raises:
        OutsideError: a link in the results folder leads out of it.
        OSError: the file cannot be written.
    """
    from PIL import Image as PILImage

    path = reconstruction_path(keep, cell)
    make_folder(keep, path.parent)
    with atomic_bytes(path) as file:
        PILImage.fromarray(image).save(file, "PNG", compress_level=1)


def kept_reconstruction(keep: Path, cell: Cell) -> Path | None:
    """Return the file of the reconstruction that was kept of a cell, or None where there is none in the folder."""
    path = reconstruction_path(keep, cell)
    try:
        check_inside(keep, path)
    except BenchError:
        return None
    return path if path.is_file() else None


def _folder(keep: Path, kind: str, cell: Cell) -> Path:
    return keep / kind / f"{_slug(cell.codec)}-{cell.fingerprint}"


def _image(cell: Cell) -> str:
    # Without the ending: Windows reserves "con.png", and a dot in front would hide the file.
    return f"{_slug(os.path.splitext(cell.image)[0])}@{cell.rate:g}"


def _slug(name: str) -> str:
    """Return letters, digits, "_" and "-" of a name's end, at most `_SLUG_BYTES` bytes of UTF-8."""
    kept = "".join(char if char.isalnum() or char in "_-" else "_" for char in name[-_SLUG_BYTES:])
    return kept.encode()[-_SLUG_BYTES:].decode(errors="ignore")
