"""DiffusionDB's layout and subsets (Wang et al., 2022, arXiv:2210.14896), as on the Hugging Face hub.

``poloclub/diffusiondb`` comes in parts of 1,000 images, each a zip (or the folder that it unpacks to) that
also holds a JSON file with the prompts.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from rdbench.datasets.base import DatasetError, ImageError
from rdbench.datasets.image_file import ImageFile
from rdbench.datasets.zip_member import (
    MAX_MEMBER_VARIABLE,
    MemberError,
    check_members,
    check_name,
    max_member_bytes,
    read_member,
    shown,
)
from rdbench.errors import did_you_mean

DEFAULT_SUBSET = "2m_random_1k"
_LARGEST_INDEX = 1 << 25
"""Bytes of a part's JSON file; the original ones have some 400,000."""


@dataclass(frozen=True)
class Half:
    """One of the two halves of DiffusionDB.

    Attributes:
        parts: how many parts it has, numbered from 1.
        table: the file with the metadata of all its images.
        thousands: the sizes of its subsets, in thousands of images, hence in parts.
    """

    parts: int
    table: str
    thousands: tuple[int, ...]


HALVES = {
    "2m": Half(2000, "metadata.parquet", (1, 5, 10, 50, 100, 500, 1000)),
    "large": Half(14000, "metadata-large.parquet", (1, 5, 10, 50, 100, 500, 1000, 5000, 10000)),
}


@dataclass(frozen=True, order=True)
class Part:
    """A part of DiffusionDB: the half ("2m" or "large") and the number, from 1."""

    half: str
    number: int

    @property
    def stem(self) -> str:
        """The name of its folder, and of its zip and JSON files without their endings."""
        return f"part-{self.number:06d}"

    @property
    def zip_name(self) -> str:
        """The path of its zip in the repository."""
        large = f"diffusiondb-large-part-{1 if self.number <= 10_000 else 2}"
        return f"{'images' if self.half == '2m' else large}/{self.stem}.zip"


def subset_names() -> list[str]:
    """Return the names of the subsets with images, those of the repository's own loading script."""
    return list(_subsets())


def subset_parts(name: str) -> list[Part]:
    """Return the parts that make a subset, in the order of their numbers.

    A ``first`` subset begins at part 2, as in the loading script. A ``random`` one is drawn anew whenever
    that script is imported (it sets no seed); here it takes the parts for which the SHA-256 of their name
    ("2m/part-000001") comes first, so it is the same everywhere and contains the smaller ones.

    Raises:
        DatasetError: no such subset.
    """
    subsets = _subsets()
    if name not in subsets:
        raise DatasetError(did_you_mean("DiffusionDB subset", name, subsets))
    half, sampling, count = subsets[name]
    parts = [Part(half, number) for number in range(1, HALVES[half].parts + 1)]
    if sampling == "random":
        return sorted(sorted(parts, key=_lot)[:count])
    return parts[1 : count + 1] if sampling == "first" else parts


def _subsets() -> dict[str, tuple[str, str, int]]:
    subsets = {}
    for key, half in HALVES.items():
        for sampling in ("first", "random"):
            for count in half.thousands:
                size = f"{count}k" if count < 1000 else f"{count // 1000}m"
                subsets[f"{key}_{sampling}_{size}"] = key, sampling, count
        subsets[f"{key}_all"] = key, "all", half.parts
    return subsets


def _lot(part: Part) -> str:
    return hashlib.sha256(f"{part.half}/{part.stem}".encode()).hexdigest()


@dataclass(frozen=True)
class ZipMember(ImageFile):
    """An image inside a zip, read without unpacking the zip.

    Attributes:
        member: its name in the zip.
    """

    member: str

    def open(self) -> BufferedReader | BytesIO:
        """Return the member's bytes."""
        with zipfile.ZipFile(self.path) as archive:
            try:
                return BytesIO(read_member(archive, self.member, max_member_bytes()))
            except KeyError:
                raise ImageError("not in the zip, although its JSON names it") from None
            except MemberError as error:
                advice = f" ({MAX_MEMBER_VARIABLE} sets it)" if "limit" in str(error) else ""
                raise ImageError(f"{error}{advice}") from error

    def __str__(self) -> str:
        """Return the zip's name and the member's."""
        return f"{self.path}:{self.member}"


@dataclass(frozen=True)
class UnpackedMember(ImageFile):
    """An image in the folder that a zip was unpacked to.

    Attributes:
        folder: that it must be in.
    """

    folder: Path

    def open(self) -> BufferedReader | BytesIO:
        """Open the file's bytes."""
        _check_inside(self.path, self.folder)
        return super().open()

    def __str__(self) -> str:
        """Return the name that error messages give it."""
        return str(self.path)


def read_part(path: Path, part: Part) -> Iterator[tuple[str, ImageFile, str]]:
    """Yield the images of a part, by name: the name, the image (not read), and its prompt.

    Args:
        path: the part's zip, or the folder that it was unpacked to.
        part: which part it is.

    Raises:
        DatasetError: it is damaged, has no JSON, or holds what an original part does not: names that lead out of
            it, two members of one name, a JSON file that is encrypted or too large.
    """
    index = f"{part.stem}.json"
    try:
        if path.is_dir():
            prompts = _prompts(_read_index(path / index, path))
            return ((name, UnpackedMember(path / name, path), prompt) for name, prompt in prompts)
        with zipfile.ZipFile(path) as archive:
            # A zip made by others may hold the folder itself, where the original holds what is in it.
            check_members(archive)
            found = [name for name in archive.namelist() if PurePosixPath(name).name == index]
            if not found:
                raise FileNotFoundError(index)
            if len(found) > 1:
                raise MemberError(f"holds {len(found)} files {index}")
            inner = found[0]
            prompts = _prompts(_index_bytes(archive, inner))
        prefix = inner.removesuffix(index)
        return ((name, ZipMember(path, prefix + name), prompt) for name, prompt in prompts)
    except FileNotFoundError:
        raise DatasetError(f"'{path}' has no {index}: get this part again") from None
    except MemberError as error:
        raise DatasetError(f"'{path}' is no part of DiffusionDB as its makers packed it: it {error}") from error
    # zipfile raises many types on damaged data, zlib's own and NotImplementedError among them.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"'{path}' is damaged ({reason}): delete it and get it again") from error


def _index_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the bytes of a part's JSON file in its zip."""
    try:
        return read_member(archive, name, _LARGEST_INDEX)
    except MemberError as error:
        raise MemberError(f"has a {PurePosixPath(name).name} that {error}") from error


def _read_index(path: Path, folder: Path) -> bytes:
    """Return the bytes of an unpacked part's JSON file."""
    _check_inside(path, folder)
    length = path.stat().st_size
    if length > _LARGEST_INDEX:
        raise MemberError(f"has a {path.name} of {length} bytes, over the limit of {_LARGEST_INDEX}")
    return path.read_bytes()


def _check_inside(path: Path, folder: Path) -> None:
    """Raise `ImageError` where a path leads out of a folder through a link, or to something that is no file."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ImageError("a link that leads out of the folder of its part")
    if path.exists() and not path.is_file():
        raise ImageError("not a file")


def _prompts(data: bytes) -> list[tuple[str, str]]:
    """Return names and prompts, by name."""
    try:
        table = json.loads(data, object_pairs_hook=_once)
        found = [(name, table[name]["p"]) for name in sorted(table)]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, MemberError):
            raise
        raise ValueError("its JSON does not map image names to prompts") from None
    for name, prompt in found:
        check_name(name)
        if not isinstance(prompt, str):
            raise ValueError(f"its JSON has no text for {shown(name)}")
    # JSON can hold halves of surrogate pairs, which no file can.
    return [(name, prompt.encode("utf-8", "replace").decode()) for name, prompt in found]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in table if names.count(name) > 1)
        raise MemberError(f"has a JSON file that names {shown(twice)} twice")
    return table


def local_parts(folder: Path) -> dict[Part, Path]:
    """Find the parts in a local copy.

    Where a part is there both as a zip and unpacked, the zip counts: unpacking may have been cut short.

    Args:
        folder: a copy of the repository, or a folder with the parts themselves.

    Returns:
        part → its zip or folder.

    Raises:
        DatasetError: the folder does not exist or cannot be listed.
    """
    large = ("diffusiondb-large-part-1", "diffusiondb-large-part-2")
    places = {folder: "large" if folder.name in large else "2m", folder / "images": "2m"}
    places |= dict.fromkeys((folder / name for name in large), "large")
    found = {}
    try:
        for place, half in places.items():
            for path in sorted(place.iterdir()) if place == folder or place.is_dir() else ():
                name = re.fullmatch(r"part-([0-9]{6})(\.zip)?", path.name)
                if name:
                    found[Part(half, int(name[1]))] = path  # sorted: a folder comes before its zip
    except OSError as error:
        raise DatasetError(f"cannot list '{error.filename}': {error.strerror}") from error
    return found
