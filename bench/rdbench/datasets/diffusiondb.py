"""The dataset DiffusionDB: Stable Diffusion images with their prompts, from a local copy or from the hub."""

import math
import os
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rdbench.datasets.base import Dataset, DatasetError, Item
from rdbench.datasets.diffusiondb_layout import (
    DEFAULT_SUBSET,
    HALVES,
    Part,
    local_parts,
    read_part,
    subset_names,
    subset_parts,
)
from rdbench.datasets.places import data_root
from rdbench.errors import did_you_mean

REPOSITORY = "poloclub/diffusiondb"

_OPTIONS = ("max_nsfw", "subset")
_MOST_ROWS = 1 << 26
_MOST_BYTES = 1 << 32
"""Of the columns that are read; the original of the larger half has 14 million rows."""
_INSTALL = 'pip install "rdbench[diffusiondb]"'


def hub_file(name: str, **options: Any) -> Path:
    """Return a file of the hub repository, downloaded into the hub client's own cache if it is not there yet.

    Args:
        name: its path in the repository.
        options: further arguments of `huggingface_hub.hf_hub_download`.

    Raises:
        DatasetError: huggingface_hub is not installed, or the file cannot be had.
    """
    local = "give a local copy, diffusiondb:PATH or RDBENCH_DATA/diffusiondb"
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise DatasetError(f"to download DiffusionDB {_INSTALL}, or {local}") from None
    try:
        return Path(hf_hub_download(REPOSITORY, name, repo_type="dataset", **options))
    # Besides its own errors the client lets through those of whatever HTTP library it uses.
    except Exception as error:
        raise DatasetError(f"{name} of {REPOSITORY} cannot be downloaded ({type(error).__name__}): {local}") from error


class DiffusionDB(Dataset):
    """Images of DiffusionDB; an item's caption is the image's prompt.

    Args:
        path: a local copy, to which nothing is added. `None` takes the parts that are in
            ``ROOT/diffusiondb``, and the others from the hub.
        subset: one of `subset_names`. `None` takes every part in `path` (only the 2M half where both are
            there), or `DEFAULT_SUBSET` without a path.
        max_nsfw: leave out images whose ``image_nsfw`` in the metadata table is above this (a likelihood from
            0 to 1; images that Stable Diffusion has blurred have 2). `None` keeps all and needs no table.
        root: the folder that holds datasets; `None` takes ``$RDBENCH_DATA``.
        fetch: returns the local path of a file of the hub repository.

    Raises:
        DatasetError: no such subset.
    """

    def __init__(
        self,
        path: Path | None = None,
        subset: str | None = None,
        *,
        max_nsfw: float | None = None,
        root: Path | None = None,
        fetch: Callable[[str], Path] = hub_file,
    ) -> None:
        self.path = path
        self.subset = subset if subset or path else DEFAULT_SUBSET
        self.max_nsfw = max_nsfw
        self.root = root
        self.fetch = fetch
        self.name = "-".join(["diffusiondb", *([self.subset] if self.subset else [])])
        if max_nsfw is not None:
            self.name += f"-nsfw{max_nsfw:g}"
        self._wanted = subset_parts(self.subset) if self.subset else None

    def items(self) -> Sequence[Item]:
        """Return the images by part and name, named ``part-000001/UUID.png``. Missing parts are downloaded.

        Raises:
            DatasetError: a part or the metadata table is missing or damaged, or no image is left.
        """
        copy = self._copy()
        here = local_parts(copy) if copy else {}
        parts = self._from_copy(here) if self.path else self._from_anywhere(here)
        shown = self._shown(parts, copy)
        items = [
            image.item(f"{part.stem}/{name}", prompt)
            for part, path in parts.items()
            for name, image, prompt in read_part(path, part)
            if shown is None or name in shown
        ]
        if not items:
            raise DatasetError(f"{self.name} has no images" + ("" if shown is None else ": raise max_nsfw"))
        return items

    def _copy(self) -> Path | None:
        if self.path:
            return self.path
        root = data_root(self.root)
        return root / "diffusiondb" if root and (root / "diffusiondb").is_dir() else None

    def _from_anywhere(self, here: dict[Part, Path]) -> dict[Part, Path]:
        return {part: here.get(part) or self.fetch(part.zip_name) for part in self._wanted or ()}

    def _from_copy(self, here: dict[Part, Path]) -> dict[Part, Path]:
        if not here:
            raise DatasetError(
                f"no parts of DiffusionDB in '{self.path}': it needs images/part-000001.zip and so on, "
                "or the folders that they unpack to"
            )
        if self._wanted is None:
            half = min(part.half for part in here)
            return {part: here[part] for part in sorted(here) if part.half == half}
        missing = [part.zip_name for part in self._wanted if part not in here]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DatasetError(
                f"'{self.path}' lacks {missing[0]}{more} of {self.subset}: add it, or name no subset to take "
                "all that is there"
            )
        return {part: here[part] for part in self._wanted}

    def _shown(self, parts: Collection[Part], copy: Path | None) -> set[str] | None:
        """Return the names of the images whose score is low enough, without those that have none."""
        if self.max_nsfw is None:
            return None
        try:
            from pyarrow import parquet
        except ImportError:
            raise DatasetError(f"max_nsfw reads a Parquet table: {_INSTALL}") from None
        table = self._table(HALVES[next(iter(parts)).half].table, copy)
        try:
            _check_table(parquet.ParquetFile(table).metadata)
            rows = parquet.read_table(
                table,
                columns=["image_name", "image_nsfw"],
                filters=[("part_id", "in", [part.number for part in parts])],
            ).to_pylist()
            # The column has 32 bits: a threshold of 0.7 would leave out 0.7 itself without this.
            most = self.max_nsfw + 1e-6
            # Of several rows of one image all must allow it.
            hidden = {row["image_name"] for row in rows if row["image_nsfw"] is None or not row["image_nsfw"] <= most}
            return {row["image_name"] for row in rows} - hidden
        except Exception as error:  # pyarrow's errors share no narrower base class
            reason = " ".join(str(error).split())
            raise DatasetError(f"'{table}' is damaged ({reason}): delete it and get it again") from error

    def _table(self, name: str, copy: Path | None) -> Path:
        for folder in (copy, copy.parent) if copy else ():  # the latter where PATH holds the parts themselves
            if (folder / name).is_file():
                return folder / name
        if self.path:
            raise DatasetError(f"max_nsfw needs {name}, which is not in '{self.path}'")
        return self.fetch(name)


def _check_table(metadata: Any) -> None:
    """Raise `ValueError` where a Parquet table says that it is far larger than the original."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    names = {"image_name", "image_nsfw", "part_id"}
    length = sum(column.total_uncompressed_size for column in columns if column.path_in_schema in names)
    if metadata.num_rows > _MOST_ROWS or length > _MOST_BYTES:
        raise ValueError(f"it says {metadata.num_rows} rows and {length} bytes, far more than the original has")


def open_diffusiondb(options: str, root: Path | None) -> DiffusionDB:
    """Open ``diffusiondb[:PATH or SUBSET][,subset=SUBSET][,max_nsfw=NUMBER]``.

    Raises:
        DatasetError: an option that does not exist, or a value out of range.
    """
    path: Path | None = None
    values: dict[str, str] = {}
    first, *others = re.split(r",(?=\w+=)", options)
    if first.partition("=")[0] in _OPTIONS:
        others.insert(0, first)
    elif first in subset_names():
        values["subset"] = first
    elif os.path.exists(os.path.expanduser(first)) or "/" in first or "\\" in first:
        path = Path(os.path.expanduser(first))
    elif first:
        raise DatasetError(did_you_mean("DiffusionDB subset or folder", first, subset_names()))
    for option in others:
        key, _, value = option.partition("=")
        if key not in _OPTIONS:
            raise DatasetError(did_you_mean("option of diffusiondb", key, _OPTIONS))
        values[key] = value
    return DiffusionDB(path, values.get("subset"), max_nsfw=_threshold(values.get("max_nsfw")), root=root)


def _threshold(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 2:
        raise DatasetError(f"max_nsfw is '{text}': use a number from 0 to 2")
    return value
