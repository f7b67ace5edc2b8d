"""Measure: encode one image, decode it from the bytes alone, score what came out.

Codecs run in processes of their own (`hosting`); scoring happens here, where no codec ever is.
"""

import hashlib
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rdbench.cell import Cell
from rdbench.datasets import Item
from rdbench.hosting import CodecFailureError, CodecTimeoutError, Configuration, Lane, compare_fingerprints, own_lane
from rdbench.hosting.lane import LEAST_START_S, image_sha256
from rdbench.kept import keep_reconstruction, keep_stream, kept_stream
from rdbench.keys import digest
from rdbench.metrics import DerivedMetric, Metric, UndefinedScoreError, metric_class
from rdbench.text import error_line, one_line
from rdcodecs import Image

UNREPEATABLE = "DeterminismError"
"""What the error of a cell begins with whose bitstream, decoded twice, gave two images."""
_DECOY_SIDE = 64


@dataclass(frozen=True)
class Task:
    """One encode and every decode that is wanted of its bitstream.

    Attributes:
        item: the image.
        codec: the codec's registered name or ``path/to/file.py:Class``.
        image_digest: the image's digest.
        cells: the cells to fill in, all of one bitstream.
        metrics: metric name → digest of its fingerprint.
        time_limit: seconds that one encode with its decodes may take.
        fingerprint: what was planned to decide the codec's output: it must be so where the task is done.
        metric_fingerprints: metric name → what was planned to decide its values.
        costly: whether one process encodes and decodes.
        verify: decode one variant once more, in a fresh process, and compare.
        memory: bytes that a codec's process may use with its children; None for no limit.
        keep: folder for bitstreams and reconstructions, or None to keep nothing.
        known_encode_s: encode time of a bitstream that an earlier run kept; None asks for a fresh encode.
        stream_digest: SHA-256 of that kept bitstream.
    """

    item: Item
    codec: str
    image_digest: str
    cells: tuple[Cell, ...]
    metrics: Mapping[str, str]
    time_limit: float
    fingerprint: Mapping[str, Any]
    metric_fingerprints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    costly: bool = False
    verify: bool = False
    memory: int | None = None
    keep: Path | None = None
    known_encode_s: float | None = None
    stream_digest: str = ""

    @property
    def affinity(self) -> str:
        """Tasks of the same image belong on the same worker, which has its features."""
        return self.image_digest

    @property
    def timeout(self) -> float:
        """Seconds after which an executor may take it that not only the codec hangs, which is ended long before."""
        return 2 * self.time_limit + 4 * max(self.time_limit, LEAST_START_S)

    @property
    def configuration(self) -> Configuration:
        """The codec as it was planned."""
        options = self.cells[0].codec_options
        return Configuration(self.codec, options, self.fingerprint, self.costly, self.memory, self.time_limit)


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
    deadline = time.monotonic() + task.time_limit
    try:
        scorer = _scorer(task)
        reference = scorer.reference(task)
        data, encode_s = _bitstream(task, reference, clock, deadline)
    except Exception as error:
        return Measured(failed(task, error_text(error)), time.perf_counter() - started, clock.codec, clock.metrics)
    height, width = reference.image.shape[:2]
    facts = {
        "width": width,
        "height": height,
        "bytes": len(data),
        "encode_s": encode_s,
        "stream": hashlib.sha256(data).hexdigest(),
    }
    # Waiting for a codec to start took none of the encoder's time, and takes none of the decoders'.
    deadline = time.monotonic() + task.time_limit - (0.0 if task.known_encode_s == encode_s else encode_s)
    cells: list[Cell] = []
    repeatable = _Repeatable(task, data)
    for cell in task.cells:
        cell = replace(cell, **facts, measured=_now())
        try:
            if cells and time.monotonic() > deadline:
                raise CodecTimeoutError(f"TaskTimeoutError: no time was left of the limit of {task.time_limit:g} s")
            image, decode_s = own_lane().decode(
                task.configuration, data, cell.decode_options, reference.image.shape, deadline=deadline
            )
            clock.codec += decode_s
            scored = _scored(task, cell, image, decode_s, scorer, reference, clock)
            repeatable.note(len(cells), scored, image)
            cells.append(scored)
        except Exception as error:
            cells.append(replace(cell, error=error_text(error)))
    if task.verify:
        clock.codec += repeatable.verify(own_lane(), cells, reference.image)
    return Measured(tuple(cells), time.perf_counter() - started, clock.codec, clock.metrics)


def failed(task: Task, error: str) -> tuple[Cell, ...]:
    """Return a task's cells as error rows."""
    return tuple(replace(cell, measured=_now(), error=error) for cell in task.cells)


def error_text(error: BaseException) -> str:
    """Return what stands in the row of a cell that failed."""
    return str(error) if isinstance(error, CodecFailureError) else one_line(error)


class _Clock:
    """Adds up where a task's time goes."""

    def __init__(self) -> None:
        self.codec = 0.0
        self.metrics = 0.0


class _Reference:
    """An image with the features its metrics need, computed once per image and worker."""

    def __init__(self, image: Image) -> None:
        self.image = np.ascontiguousarray(image)
        self.image.setflags(write=False)
        self.sha256 = image_sha256(self.image)
        self._prepared: dict[str, Any] = {}

    def prepared(self, metric: Metric) -> Any:
        if metric.name not in self._prepared:
            self._prepared[metric.name] = metric.prepare(self.image)
        return self._prepared[metric.name]

    @property
    def untouched(self) -> bool:
        return image_sha256(self.image) == self.sha256


class _Scorer:
    """Metrics and the last image's features. Each thread has its own: what a metric keeps is no other thread's."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric | DerivedMetric] = {}
        self._last: tuple[str, _Reference] | None = None  # features can be larger than their image
        self._checked: set[tuple[str, str]] = set()

    def reference(self, task: Task) -> _Reference:
        last = self._last
        if last is None or last[0] != task.image_digest or not last[1].untouched:
            self._last = (task.image_digest, _Reference(task.item.load()))
        assert self._last is not None  # noqa: S101 - for the type checker
        return self._last[1]

    def check(self, planned: Mapping[str, Mapping[str, Any]]) -> None:
        """Check that metrics are here what they were where the run was planned."""
        for name, fingerprint in planned.items():
            known = name, digest(fingerprint)
            if known in self._checked:
                continue
            metric = self._metric(name)
            base = self._metric(metric.base) if isinstance(metric, DerivedMetric) else metric
            assert isinstance(base, Metric)  # noqa: S101 - a derived metric derives from a measured one
            compare_fingerprints(fingerprint, base.fingerprint(), f"metric {name}")
            self._checked.add(known)

    def scores(self, names: tuple[str, ...], reference: _Reference, image: Image) -> dict[str, float]:
        """Score one reconstruction. A metric that is not defined for it has no entry."""
        side = min(image.shape[:2])
        values: dict[str, float] = {}

        def value(name: str) -> float | None:
            metric = self._metric(name)
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
        if not reference.untouched:
            self._last = None  # read it again for the next
            raise RuntimeError("the reference image has changed in memory: a metric wrote into it")
        return values

    def _metric(self, name: str) -> Metric | DerivedMetric:
        if name not in self._metrics:
            self._metrics[name] = metric_class(name)()
        return self._metrics[name]


_threads = threading.local()


def _scorer(task: Task) -> _Scorer:
    mine: _Scorer | None = getattr(_threads, "scorer", None)
    if mine is None:
        mine = _threads.scorer = _Scorer()
    mine.check(task.metric_fingerprints)
    return mine


def _bitstream(task: Task, reference: _Reference, clock: _Clock, deadline: float) -> tuple[bytes, float]:
    """Return the bitstream, kept from an earlier run where that is possible, and its encode time."""
    if task.keep and task.known_encode_s is not None:
        kept = kept_stream(task.keep, task.cells[0], task.stream_digest)
        if kept is not None:
            return kept, task.known_encode_s
    data, encode_s = own_lane().encode(
        task.configuration,
        reference.image,
        reference.sha256,
        task.cells[0].rate,
        task.item.caption,
        deadline=deadline,
    )
    clock.codec += encode_s
    if task.keep:
        keep_stream(task.keep, task.cells[0], data)
    return data, encode_s


def _scored(
    task: Task, cell: Cell, image: Image, decode_s: float, scorer: _Scorer, reference: _Reference, clock: _Clock
) -> Cell:
    if task.keep:
        keep_reconstruction(task.keep, cell, image)
    start = time.perf_counter()
    metrics = scorer.scores(tuple(task.metrics), reference, image)
    clock.metrics += time.perf_counter() - start
    return replace(cell, decode_s=decode_s, metrics=metrics, metric_fingerprints=dict(task.metrics))


class _Repeatable:
    """Decodes one variant of a bitstream once more, where nothing can be left of the first time.

    The codec's processes are ended first, with all that they have started; before that the encoder is given another
    picture, so that "the picture that was encoded last" is no longer this one, wherever a codec keeps it.
    """

    def __init__(self, task: Task, data: bytes) -> None:
        self._task, self._data = task, data
        self._first: tuple[int, Cell, Image] | None = None

    def note(self, index: int, cell: Cell, image: Image) -> None:
        """Take a decoded variant for the one to verify if it is the cheapest so far."""
        if self._task.verify and (self._first is None or _cost(cell) < _cost(self._first[1])):
            self._first = index, cell, image

    def verify(self, lane: Lane, cells: list[Cell], reference: Image) -> float:
        """Decode again; where another image comes out the cell's row becomes an error. Return the decode's seconds."""
        if self._first is None:
            return 0.0
        index, cell, first = self._first
        task = self._task
        try:
            lane.divert(task.configuration, decoy(reference), cell.rate, limit_s=task.time_limit)
            lane.renew(task.configuration)
            deadline = time.monotonic() + task.time_limit
            second, seconds = lane.decode(
                task.configuration, self._data, cell.decode_options, first.shape, deadline=deadline
            )
        except CodecFailureError as error:
            said = f"decoded once more, in a fresh process, the same bytes gave an error: {error}"
            failed_cell = _unrepeatable(cell, said)
            if error.stage != "decode":  # it could not even be loaded again
                failed_cell = replace(failed_cell, error=str(error))
            cells[index] = failed_cell
            return 0.0
        if not np.array_equal(first, second):
            cells[index] = _unrepeatable(cell, f"two decodes of the same bytes differ: {distance(first, second)}")
        return seconds


def _cost(cell: Cell) -> float:
    return cell.decode_s if cell.decode_s is not None else math.inf


def _unrepeatable(cell: Cell, said: str) -> Cell:
    return replace(cell, decode_s=None, metrics={}, metric_fingerprints={}, error=error_line(UNREPEATABLE, said))


def distance(first: Image, second: Image) -> str:
    """Return in words how far two images of one size are apart."""
    difference = first.astype(np.int32) - second
    psnr = 10 * math.log10(255**2 / float(np.mean(difference.astype(np.float64) ** 2)))
    return f"by up to {np.abs(difference).max()} of 255 levels, {psnr:.2f} dB PSNR between them"


def decoy(image: Image) -> Image:
    """Return a small picture that is another one than `image` in every respect."""
    return np.ascontiguousarray(255 - image[:_DECOY_SIDE, :_DECOY_SIDE][::-1, ::-1])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
