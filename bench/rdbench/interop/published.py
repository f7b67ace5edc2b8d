"""Curves from the literature: the JSON files under results/published, each with its source in it."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from rdbench.errors import BenchError, did_you_mean
from rdbench.interop.compressai import InteropError, MeanPoints, import_compressai
from rdbench.messages import warn
from rdbench.text import message

_PREFIX = "published/"


def load_published(spec: str, root: Path | str | None = None) -> MeanPoints:
    """Return a published curve.

    Args:
        spec: its name, ``published/SOURCE/.../CURVE`` as `published_names` lists them, in any case
            (``published/compressai-kodak/vtm``, ``published/diffeic/kodak/PerCo``); or the path of a JSON
            file of CompressAI's form.
        root: the folder ``results``, or one to look for it in and above; by default the current folder, and
            then the source tree that this package is in.

    Raises:
        InteropError: there is no such curve, or no results/published.
    """
    if spec.endswith(".json"):
        return import_compressai(spec)
    folder = published_folder(root)
    files = _files(folder)
    wanted = spec.casefold() if spec.casefold().startswith(_PREFIX) else _PREFIX + spec.casefold()
    for name, file in files.items():
        if name.casefold() == wanted:
            return import_compressai(file)
    raise InteropError(did_you_mean("published curve", spec, files))


def published_curves(specs: Iterable[str], root: Path | str | None, console: Console) -> list[MeanPoints]:
    """Return those of several published curves that there are, and say of each other one why it is not drawn.

    Args:
        specs: names or paths, as for `load_published`.
        root: as for `load_published`.
        console: where the lines go.
    """
    found = []
    for spec in specs:
        try:
            found.append(load_published(spec, root))
        except BenchError as error:
            warn(console, f"not drawn: {message(error)}")
    return found


def published_names(root: Path | str | None = None) -> list[str]:
    """Return the names of all published curves, sorted.

    Raises:
        InteropError: there is no results/published.
    """
    return sorted(_files(published_folder(root)))


def published_folder(root: Path | str | None = None) -> Path:
    """Return the folder of the published curves; see `load_published` for `root`.

    Raises:
        InteropError: there is none.
    """
    start = Path(root) if root is not None else Path.cwd()
    start = start.resolve()
    source_tree = Path(__file__).resolve().parents[3]
    for folder in (start, *start.parents, source_tree):
        for candidate in (folder / "results" / "published", folder / "published"):
            if candidate.is_dir():
                return candidate
    raise InteropError(
        f"no results/published in or above '{start}': run inside the rdbench repository, where the "
        "curves are, or give the path of a JSON file"
    )


def _files(folder: Path) -> dict[str, Path]:
    return {
        _PREFIX + file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.json"))
    }
