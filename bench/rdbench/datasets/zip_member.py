"""Members of a zip that somebody else made: read within limits, by names that stay inside it."""

import os
import re
import stat
import zipfile

from rdbench.datasets.base import DatasetError

MAX_MEMBER_VARIABLE = "RDBENCH_MAX_MEMBER_BYTES"
DEFAULT_MAX_MEMBER_BYTES = 1 << 26
_LONGEST_NAME = 255
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of packing. Python's readers of the others do not bound what a few bytes unpack to."""


class MemberError(ValueError):
    """A member is not to be read. The message begins in the midst of a line: "is encrypted"."""


def max_member_bytes() -> int:
    """Return how many bytes a zip's member may unpack to: RDBENCH_MAX_MEMBER_BYTES, or else 2^26 (64 MiB).

    Raises:
        DatasetError: the variable is not a whole number above 0.
    """
    text = os.environ.get(MAX_MEMBER_VARIABLE, "").strip()
    if not text:
        return DEFAULT_MAX_MEMBER_BYTES
    if not re.fullmatch(r"0*[1-9][0-9]{0,17}", text):
        raise DatasetError(f"{MAX_MEMBER_VARIABLE} is {text[:40]!r}: give a whole number of bytes above 0, or unset it")
    return int(text)


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a member's bytes.

    Args:
        archive: the zip.
        name: of the member.
        limit: of its length in bytes, whatever the zip says of it.

    Raises:
        KeyError: there is no such member.
        MemberError: it is no file, encrypted, packed by another method than deflate, or longer than the limit.
        zipfile.BadZipFile, zlib.error, OSError: it is damaged.
    """
    info = archive.getinfo(name)
    if info.flag_bits & 1:
        raise MemberError("is encrypted")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise MemberError("is a link, not a file")
    if info.is_dir():
        raise MemberError("is a folder, not a file")
    if info.compress_type not in _METHODS:
        raise MemberError(f"is packed by method {info.compress_type}: only deflated and stored members are read")
    if info.file_size > limit:
        raise MemberError(f"unpacks to {info.file_size} bytes, over the limit of {limit}")
    with archive.open(info) as member:
        data = member.read(info.file_size)  # no more is inflated, whatever there is; its checksum is then wrong
    if len(data) != info.file_size:
        raise MemberError(f"unpacks to {len(data)} bytes, where the zip says {info.file_size}")
    return data


def check_members(archive: zipfile.ZipFile) -> None:
    """Raise `MemberError` where two members have one name, or a name leads out of the zip."""
    seen: set[str] = set()
    for info in archive.infolist():
        if info.filename in seen:
            raise MemberError(f"holds {shown(info.filename)} twice")
        seen.add(info.filename)
        # Python itself cuts a name at its first NUL.
        check_name(info.orig_filename.removesuffix("/"))


def check_name(name: str) -> None:
    """Raise `MemberError` where a name is not a plain relative path with forward slashes, on any system."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name or re.match("[A-Za-z]:", name):
        raise MemberError(f"names {shown(name)}, which is no file inside it")
    if not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise MemberError(f"names {shown(name)}, which is no name of a file here")


def shown(name: str) -> str:
    """Return a name as a message shows it: printable, and not long."""
    return repr(name if len(name) <= 60 else name[:57] + "...").encode("ascii", "backslashreplace").decode()
