"""Write files as a whole or not at all, and never through a link that leads out of their folder."""

import codecs
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from rdbench.errors import BenchError
from rdbench.text import printable

_PART = ".part"
_OLD_S = 24 * 3600.0
"""A temporary file that nobody has written to for so long was left behind by a run that was killed."""


class OutsideError(BenchError):
    """A link in a results folder leads out of it: what is written there would fall on other people's files."""


def absolute(path: Path) -> Path:
    """Return a path that means the same in a process that is, or goes, elsewhere; links stay as they are."""
    return Path(os.path.abspath(path))


def absolute_codec(name: str) -> str:
    """Return a codec's name, ``path/to/file.py:Class`` with an absolute path."""
    path, separator, attribute = name.rpartition(":")
    return f"{absolute(Path(path))}{separator}{attribute}" if path.endswith(".py") else name


def read_text(path: Path) -> str:
    """Return a text file's content: UTF-8, with or without a byte order mark, or UTF-16 with one.

    Raises:
        OSError: it cannot be read.
        UnicodeError: it is not text.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that takes the old one's place only once it is complete.

    A link at `path` is replaced, never followed. Surrogates, which no UTF-8 file can hold, are written as escapes.
    """
    temporary = _temporary(path)
    try:
        with temporary.open("x", newline="", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the old one's place only once it is complete; see `atomic_text`."""
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    with atomic_bytes(path) as file:
        file.write(data)


def make_folder(root: Path, folder: Path) -> None:
    """Make `folder`, which is below `root`, with all folders between; `root` itself may be a link.

    Raises:
        OutsideError: a link on the way leads out of `root`.
        OSError: a folder cannot be made.
    """
    check_inside(root, folder)
    folder.mkdir(parents=True, exist_ok=True)


def check_inside(root: Path, path: Path) -> None:
    """Refuse a path below `root` that a link leads out of it. A link to another place inside is none of these.

    Raises:
        OutsideError: it is one, or a link that leads round in a circle.
    """
    home = os.path.realpath(root)
    try:
        inside = os.path.commonpath([home, os.path.realpath(path)]) == home and not _is_circle(path)
    except ValueError:  # on another drive
        inside = False
    if not inside:
        raise OutsideError(
            f"'{printable(path)}' is a link out of the results folder: nothing is written there; remove the link, or "
            "choose another folder with --out"
        )


def refuse_links_out(root: Path, *databases: str) -> None:
    """Refuse folders and databases in `root` that a link leads out of it: what is written there would go elsewhere.

    Other files that are links are none of these: they are replaced, never written through.

    Args:
        root: a results folder.
        databases: names, or beginnings of names, of files that are changed in place.

    Raises:
        OutsideError: there is one.
    """
    with os.scandir(root) as entries:
        links = [Path(entry.path) for entry in entries if entry.is_symlink()]
    for link in sorted(links):
        # What a dangling link would become is not known.
        if not link.is_file() or link.name.startswith(databases):
            check_inside(root, link)


def sweep_parts(*folders: Path) -> None:
    """Remove the temporary files that killed runs left in folders: those that are a day old."""
    for file in (file for folder in folders for file in folder.glob(f".*{_PART}")):
        try:
            if time.time() - file.lstat().st_mtime > _OLD_S:
                file.unlink()
        except OSError:  # another run was quicker, or it is not ours
            continue


def _temporary(path: Path) -> Path:
    # Not made of the file's name, which may be as long as a name can be.
    return path.with_name(f".{uuid.uuid4().hex}{_PART}")


def _is_circle(path: Path) -> bool:
    return path.is_symlink() and os.path.islink(os.path.realpath(path))
