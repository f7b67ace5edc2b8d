"""A folder of images."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from rdbench.datasets.base import Dataset, DatasetError, Item
from rdbench.datasets.image_file import SUFFIXES, ImageFile
from rdbench.text import escaped, printable


class FolderDataset(Dataset):
    """Every image in a folder and its subfolders, in natural order (img2 before img10).

    An image is a file with a known ending (`SUFFIXES`, in any case). Files and folders whose name starts with
    a dot are left out. Links are followed.

    Args:
        path: the folder; ``~`` stands for the home folder, ``$NAME`` and ``${NAME}`` for environment variables.

    Raises:
        DatasetError: an environment variable is not set.
    """

    def __init__(self, path: str | Path) -> None:
        expanded = os.path.expandvars(os.path.expanduser(path))  # unlike Path's own, it bears with an unknown ~name
        unset = re.search(r"\$\{?([A-Za-z_]\w*)\}?", expanded)
        if unset:
            raise DatasetError(f"'folder:{path}' needs the environment variable {unset[1]}, which is not set")
        if "\0" in expanded:
            raise DatasetError(f"'folder:{printable(path)}' has a character that no path can have")
        self.path = Path(expanded)
        self.name = escaped(self.path.resolve().name) or "folder"

    def items(self) -> Sequence[Item]:
        """Return the images, named by their paths in the folder with forward slashes.

        What cannot be shown in a name (bytes that are not UTF-8, control characters) stands there as an escape such as
        ``\\xe9``, and a backslash as two; no two files share a name.

        Raises:
            DatasetError: the folder does not exist, cannot be listed, or holds no image.
        """
        if not os.path.isdir(self.path):
            what = "is not a folder" if os.path.exists(self.path) else "does not exist"
            raise DatasetError(f"'{self.path}' {what}: give the folder that holds the images")
        found = sorted(image_files(self.path), key=natural_key)
        if not found:
            endings = " ".join(sorted(SUFFIXES))
            raise DatasetError(f"no images in '{self.path}' or below it: it needs files ending in {endings}")
        return [ImageFile(self.path / file).item(escaped(file.as_posix())) for file in found]


def open_folder(options: str, root: Path | None) -> FolderDataset:
    """Open ``folder:PATH``."""
    if not options:
        raise DatasetError("name a folder: 'folder:PATH'")
    return FolderDataset(options)


def natural_key(path: PurePath) -> tuple[tuple[list[str | int], ...], str]:
    """Return a sort key: folder by folder, runs of digits by value, letters without case."""
    return tuple(_split(part) for part in path.parts), str(path)


def _split(part: str) -> list[str | int]:
    # A split at a capture group alternates text, digits, text ...: like is always compared with like.
    pieces = re.split(r"([0-9]+)", part.casefold())
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)]


def image_files(folder: Path) -> Iterator[PurePath]:
    """Yield the paths, relative to `folder`, of the image files in it and below it, in no certain order.

    Raises:
        DatasetError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"cannot list '{error.filename}': {error.strerror}") from error

    seen: set[Path] = set()  # links may lead round in a circle
    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        here = Path(place)
        if here.resolve() in seen:
            folders.clear()
            continue
        seen.add(here.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and PurePath(name).suffix.lower() in SUFFIXES:
                yield (here / name).relative_to(folder)
