"""Measure: encode one image, decode it from the bytes alone, score what came out. Runs in a worker process."""

import functools
import hashlib
import json
import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.datasets import Item
from rdbench.errors import BenchError
from rdbench.keys import canonical_json
from rdbench.ledger import Cell
from rdbench.metrics import DerivedMetric, Metric, UndefinedScoreError, metric_class
from rdcodecs import Codec, CodecError, Image, load_codec


@dataclass(frozen=True)
class Task:
    """One encode and every decode that is wanted of its bitstream.

    Attributes:
        item: the image.
        codec: the codec's registered name or ``path/to/file.py:Class``.
        image_digest: the image's digest.
        cells: the cells to fill in, all of one bitstream.
        metrics: metric name → digest of its fingerprint.
        timeout: seconds that the task may take.
        keep: folder for bitstreams and reconstructions, or None to keep nothing.
        known_encode_s: encode time of a bitstream that an earlier run kept; None asks for a fresh encode.
        stream_digest: SHA-256 of that kept bitstream.
    """

    item: Item
    codec: str
    image_digest: str
    cells: tuple[Cell, ...]
    metrics: Mapping[str, str]
    timeout: float
    keep: Path | None = None
    known_encode_s: float | None = None
    stream_digest: str = ""

    @property
    def affinity(self) -> str:
        """Tasks of the same image belong on the same worker, which has its features."""
        return self.image_digest


@dataclass(frozen=True)
class Measured:
    """What came of a task: its cells, and where the time went, in wall-clock seconds."""

    cells: tuple[Cell, ...]
    total_s: float
    codec_s: float
    metrics_s: float


def measure(task: Task) -> Measured:
    """Carry out a task. Whatever fails becomes the `error` of its cells; nothing is raised."""
    started = time.perf_counter()
    clock = _Clock()
    try:
        codec = _codec(task.codec, canonical_json(task.cells[0].codec_options))
        reference = _reference(task)
        data, encode_s = _bitstream(task, codec, reference.image, clock)
    except Exception as error:
        return Measured(failed(task, one_line(error)), time.perf_counter() - started, clock.codec, clock.metrics)
    height, width = reference.image.shape[:2]
    facts = {
        "width": width,
        "height": height,
        "bytes": len(data),
        "encode_s": encode_s,
        "stream": hashlib.sha256(data).hexdigest(),
    }
    cells = []
    for cell in task.cells:
        cell = replace(cell, **facts, measured=_now())
        try:
            cells.append(_decoded(task, cell, codec, data, reference, clock))
        except Exception as error:
            cells.append(replace(cell, error=one_line(error)))
    return Measured(tuple(cells), time.perf_counter() - started, clock.codec, clock.metrics)


def failed(task: Task, error: str) -> tuple[Cell, ...]:
    """Return a task's cells as error rows."""
    return tuple(replace(cell, measured=_now(), error=error) for cell in task.cells)


def one_line(error: BaseException) -> str:
    """Return an exception as "Type: message" on one line; with its place in the code, unless it is for the user."""
    message = " ".join(str(error).split())
    line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, CodecError | BenchError):
        return line
    return f"{line} ({Path(frames[-1].filename).name}:{frames[-1].lineno})"


class _Clock:
    """Adds up where a task's time goes."""

    def __init__(self) -> None:
        self.codec = 0.0
        self.metrics = 0.0


class _Reference:
    """An image with the features its metrics need, computed once an image and worker."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._prepared: dict[str, Any] = {}

    def prepared(self, metric: Metric) -> Any:
        if metric.name not in self._prepared:
            self._prepared[metric.name] = metric.prepare(self.image)
        return self._prepared[metric.name]


_last_reference: tuple[str, _Reference] | None = None


def _reference(task: Task) -> _Reference:
    global _last_reference  # one image a process: its features can be larger than the image
    if _last_reference is None or _last_reference[0] != task.image_digest:
        image = task.item.load()
        image.setflags(write=False)  # a codec that scribbled on it would change the reference
        _last_reference = (task.image_digest, _Reference(image))
    return _last_reference[1]


@functools.lru_cache(maxsize=4)
def _codec(name: str, options: str) -> Codec:
    codec = load_codec(name, **json.loads(options))
    codec.check()
    return codec


@functools.cache
def _metric(name: str) -> Metric | DerivedMetric:
    return metric_class(name)()


def _bitstream(task: Task, codec: Codec, image: Image, clock: _Clock) -> tuple[bytes, float]:
    """Return the bitstream, kept from an earlier run where that is possible, and its encode time."""
    path = stream_path(task.keep, task.cells[0], task.image_digest) if task.keep else None
    if path is not None and task.known_encode_s is not None and path.is_file():
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == task.stream_digest:
            return data, task.known_encode_s
    start = time.perf_counter()
    caption: dict[str, Any] = {"caption": task.item.caption} if codec.wants_caption else {}
    data = codec.encode(image, task.cells[0].rate, **caption)
    encode_s = time.perf_counter() - start
    clock.codec += encode_s
    if not isinstance(data, bytes):
        raise TypeError(f"encode returned {type(data).__name__}, not bytes")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return data, encode_s


def _decoded(task: Task, cell: Cell, codec: Codec, data: bytes, reference: _Reference, clock: _Clock) -> Cell:
    start = time.perf_counter()
    image = codec.decode(data, **cell.decode_options)
    decode_s = time.perf_counter() - start
    clock.codec += decode_s
    if image.dtype != np.uint8 or image.shape != reference.image.shape:
        raise ValueError(
            f"decode returned {image.dtype} of shape {image.shape}, not uint8 of shape {reference.image.shape}"
        )
    if task.keep:
        _save_png(reconstruction_path(task.keep, cell), image)
    start = time.perf_counter()
    metrics = _scores(tuple(task.metrics), reference, image)
    clock.metrics += time.perf_counter() - start
    return replace(cell, decode_s=decode_s, metrics=metrics, metric_fingerprints=dict(task.metrics))


def _scores(names: tuple[str, ...], reference: _Reference, image: Image) -> dict[str, float]:
    """Score one reconstruction. A metric that is not defined for it has no entry."""
    side = min(image.shape[:2])
    values: dict[str, float] = {}

    def value(name: str) -> float | None:
        metric = _metric(name)
        if isinstance(metric, DerivedMetric):
            base = values[metric.base] if metric.base in values else value(metric.base)
            return None if base is None else metric.derive(base)
        if side < metric.min_side:
            return None
        try:
            return float(metric.score(reference.prepared(metric), image))
        except UndefinedScoreError:
            return None

    for name in names:
        result = value(name)
        if result is None:
            continue
        if math.isnan(result):
            raise ArithmeticError(f"metric {name} gave NaN")
        values[name] = result
    return values


def stream_path(keep: Path, cell: Cell, image_digest: str) -> Path:
    """Return where a cell's bitstream is kept: its name tells label, image and rate, its digests what made it."""
    name = f"{_slug(cell.image)}-{image_digest[:8]}@{cell.rate:g}.bin"
    return keep / "streams" / f"{_slug(cell.label)}-{cell.fingerprint}" / name


def reconstruction_path(keep: Path, cell: Cell) -> Path:
    """Return where a cell's reconstruction is kept."""
    options = "".join(f"_{name}={value}" for name, value in sorted(cell.decode_options.items()))
    return keep / "reconstructions" / _slug(cell.label) / f"{_slug(cell.image)}@{cell.rate:g}{_slug(options)}.png"


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._-=" else "_" for c in text)


def _save_png(path: Path, image: Image) -> None:
    from PIL import Image as PILImage

    path.parent.mkdir(parents=True, exist_ok=True)
    PILImage.fromarray(image).save(path, compress_level=1)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
