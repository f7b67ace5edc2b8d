"""What a codec says of itself: asked in a process of its own with a time limit, unless it ships with this package.

Whatever a codec of one's own does as it is imported, made, checked or described costs nobody else anything.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rdbench.hosting import CodecFailureError, HostProcess
from rdbench.hosting.lane import LEAST_START_S
from rdbench.keys import canonical_json
from rdbench.scratch import Scratch
from rdbench.text import error_line
from rdcodecs import CodecError, load_codec
from rdcodecs.description import CodecDescription, describe, full_fingerprint
from rdcodecs.registry import is_shipped

LOAD_LIMIT_S = 600.0
"""Seconds that a codec may take to be loaded where no experiment says how long."""

Wanted = tuple[str, Mapping[str, Any]]
"""A codec's name and its options."""


class NotDescribedError(CodecError):
    """A codec could not be described.

    Attributes:
        stage: where it failed: "import", "__init__", "describe", "check" or "fingerprint".
        base: name of the class of `rdcodecs.codec` that its error derives from; None for any other error.
        kind: name of the error's class.
    """

    def __init__(self, message: str, *, stage: str, base: str | None, kind: str) -> None:
        super().__init__(message)
        self.stage, self.base, self.kind = stage, base, kind


@dataclass(frozen=True)
class _Known:
    """What was found out, and the state of the files at that time."""

    result: "CodecDescription | NotDescribedError"
    files: tuple[tuple[str, int, int], ...]


_known: dict[str, _Known] = {}


def describe_codec(codec: str, options: Mapping[str, Any], *, limit_s: float, complete: bool) -> CodecDescription:
    """Describe a codec.

    Args:
        codec: registered name or ``path/to/file.py:Class``.
        options: its options.
        limit_s: seconds that it may take; it has a minute at least. For codecs that do not ship.
        complete: with its fingerprint, for which `check` must pass too. A codec that does not ship is always described
            completely, and asked again only after its source has changed.

    Raises:
        NotDescribedError: it failed.
        CodecError: as raised by a codec that ships.
    """
    if is_shipped(codec):
        return _shipped(codec, options, complete=complete)
    describe_all([(codec, options)], limit_s=limit_s)
    key = _key(codec, options)
    result = _known[key].result
    if isinstance(result, NotDescribedError):
        if complete:  # the next run asks again: what is missing may have been installed
            del _known[key]
        raise result.with_traceback(None)
    return result


def forget() -> None:
    """Ask every codec again."""
    _known.clear()


def describe_all(wanted: Iterable[Wanted], *, limit_s: float) -> None:
    """Find out about many codecs at once, so that a later `describe_codec` knows. Those that ship are left alone.

    One process serves all options of one class; where it fails the rest of them get another one.
    """
    groups: dict[str, list[Wanted]] = {}
    for codec, options in wanted:
        if is_shipped(codec):
            continue
        known = _known.get(_key(codec, options))
        if known is None or known.files != _state(path for path, _, _ in known.files):
            groups.setdefault(codec, []).append((codec, options))
    if not groups:
        return
    scratch = Scratch()
    try:
        with ThreadPoolExecutor(min(len(groups), os.cpu_count() or 1)) as pool:
            asked = [
                pool.submit(_describe_group, group, scratch.path / str(number), limit_s)
                for number, group in enumerate(groups.values())
            ]
            for each in asked:
                each.result()
    finally:
        scratch.remove()


def _describe_group(group: list[Wanted], folder: Path, limit_s: float) -> None:
    host: HostProcess | None = None
    try:
        for number, (codec, options) in enumerate(group):
            if host is None or not host.alive:
                host = HostProcess(folder / str(number), private=False)
            result = _ask(host, codec, options, max(limit_s, LEAST_START_S))
            if isinstance(result, NotDescribedError):
                files: Iterable[str] = [str(Path(codec.rpartition(":")[0]).resolve())]
                host.stop()
            else:
                files = result.files
            _known[_key(codec, options)] = _Known(result, _state(files))
    finally:
        if host is not None:
            host.stop()


def _ask(
    host: HostProcess, codec: str, options: Mapping[str, Any], limit_s: float
) -> CodecDescription | NotDescribedError:
    request = {"call": "describe", "codec": codec, "options": dict(options)}
    try:
        answer, _ = host.ask(request, deadline=time.monotonic() + limit_s, limit_s=limit_s)
        return CodecDescription.from_json(answer["description"])
    except CodecFailureError as error:
        # What is for the user is said as it stands; of any other error its kind and place are said too.
        message = error.said if error.base else str(error)
        return NotDescribedError(message, stage=error.stage, base=error.base, kind=error.kind)
    except (TypeError, ValueError, KeyError) as error:
        message = error_line(type(error).__name__, str(error))
        return NotDescribedError(message, stage="describe", base=None, kind=type(error).__name__)


def _shipped(name: str, options: Mapping[str, Any], *, complete: bool) -> CodecDescription:
    codec = load_codec(name, **options)
    described = describe(name, codec)
    if not complete:
        return described
    codec.check()
    return replace(described, fingerprint=full_fingerprint(name, codec, {}))


def _key(codec: str, options: Mapping[str, Any]) -> str:
    # What the surroundings are decides the answer too.
    text = canonical_json([codec, dict(options), dict(os.environ), os.getcwd()])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _state(files: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            facts = os.stat(file)
            found.append((file, facts.st_mtime_ns, facts.st_size))
    return tuple(found)
