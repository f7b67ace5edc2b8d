"""Find an ffmpeg that can do what is asked: the one inside the package imageio-ffmpeg, or the one on PATH."""

import functools
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from rdcodecs.codec import MissingDependencyError
from rdcodecs.process import ProgramError, run_program

_PROBE_TIMEOUT = 60


def find_ffmpeg(*, encoders: Iterable[str] = (), decoders: Iterable[str] = (), filters: Iterable[str] = ()) -> Path:
    """Return an ffmpeg that has all of the given encoders, decoders and filters.

    imageio-ffmpeg's is asked first (the environment variable IMAGEIO_FFMPEG_EXE overrides that), then the one
    on PATH. What a binary can do is asked once per process.

    Args:
        encoders: names as `ffmpeg -encoders` lists them, e.g. "libvvenc".
        decoders: names as `ffmpeg -decoders` lists them, e.g. "vvc".
        filters: names as `ffmpeg -filters` lists them, e.g. "libvmaf".

    Raises:
        MissingDependencyError: neither has them all; the message says what each lacks.
    """
    wanted = {
        (kind, name)
        for kind, names in (("encoder", encoders), ("decoder", decoders), ("filter", filters))
        for name in names
    }
    lacks = []
    for path in _candidates():
        missing = wanted - _capabilities(path)
        if not missing:
            return path
        lacks.append(f"{path} lacks {_listed(missing)}")
    found = "; ".join(lacks) or "there is no ffmpeg at all"
    raise MissingDependencyError(
        f"no ffmpeg with {_listed(wanted) or 'nothing special'}: {found}; "
        "update the package imageio-ffmpeg, or put an ffmpeg that has them on PATH"
    )


@functools.cache
def ffmpeg_version(path: Path) -> str:
    """Return the version an ffmpeg gives itself, e.g. "7.1.1" or "n9.0.2-17-g2a571b6068".

    Raises:
        MissingDependencyError: it does not run or is not an ffmpeg.
    """
    try:
        banner = run_program([path, "-version"], timeout=_PROBE_TIMEOUT)
    except ProgramError as error:
        raise MissingDependencyError(f"{path}: {error}") from error
    match = re.match(r"ffmpeg version (\S+)", banner)
    if match is None:
        raise MissingDependencyError(f"{path} is not an ffmpeg: it does not give its version")
    return match[1]


def _candidates() -> list[Path]:
    paths = [_bundled(), shutil.which("ffmpeg")]
    return list(dict.fromkeys(Path(path).absolute() for path in paths if path))


def _bundled() -> str | None:
    try:
        # Imported here, so that an ffmpeg on PATH serves where the package is broken or absent.
        import imageio_ffmpeg

        # Without a binary of its own the package answers with a bare name.
        return shutil.which(str(imageio_ffmpeg.get_ffmpeg_exe()))
    except (ImportError, RuntimeError):
        return None


@functools.cache
def _capabilities(path: Path) -> frozenset[tuple[str, str]]:
    """Return all encoders, decoders and filters of an ffmpeg, as (kind, name); nothing if it does not run."""
    found: set[tuple[str, str]] = set()
    for kind in ("encoder", "decoder", "filter"):
        try:
            listing = run_program([path, "-hide_banner", f"-{kind}s"], timeout=_PROBE_TIMEOUT)
        except ProgramError:
            return frozenset()
        # Below the legend's rule: flags, name, description. Filters have had no rule in some versions, but
        # a legend line has "=" for a name.
        names = re.findall(r"^ [A-Z.|]{2,6} +([^\s=]+) +\S", listing, re.MULTILINE)
        found.update((kind, name) for name in names)
    return frozenset(found)


def _listed(features: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in sorted(features))
