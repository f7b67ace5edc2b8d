"""A cell: one image, one codec configuration, one rate, one set of decode options; and what came of it."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeGuard

from rdbench.keys import canonical_json


@dataclass(frozen=True)
class Cell:
    """One measured cell, or one that failed.

    Attributes:
        key: see `keys.cell_key`.
        encode_key: see `keys.encode_key`; the same for cells decoded from one bitstream.
        label: the codec's label when it was measured.
        codec: the codec's name.
        fingerprint: digest of the codec's fingerprint.
        image: the image's name in its dataset.
        image_hash: digest of the image's file.
        dataset: the dataset's name.
        rate: the codec's own rate parameter.
        codec_options: options the codec was made with.
        decode_options: options of the decode, complete.
        measured: ISO 8601 time, UTC.
        width: pixels; None where the image could not be read.
        height: pixels; None where the image could not be read.
        bytes: length of the bitstream.
        stream: SHA-256 of the bitstream.
        encode_s: wall-clock seconds.
        decode_s: wall-clock seconds.
        metrics: metric name → value.
        metric_fingerprints: metric name → digest of the metric's fingerprint.
        error: empty, or one line saying what failed.
        in_tables: whether tables, curves and plots show this row. Rows of other images, of earlier configurations
            and of other rates than the last run asked for are kept, but not shown.
    """

    key: str
    encode_key: str
    label: str
    codec: str
    fingerprint: str
    image: str
    image_hash: str
    dataset: str
    rate: float
    codec_options: dict[str, Any]
    decode_options: dict[str, Any]
    measured: str
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    stream: str = ""
    encode_s: float | None = None
    decode_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    metric_fingerprints: dict[str, str] = field(default_factory=dict)
    error: str = ""
    in_tables: bool = True

    @property
    def identity(self) -> tuple[str, str]:
        """Key and label: what tells the rows of a results folder apart."""
        return self.key, self.label

    @property
    def place(self) -> str:
        """Where the cell stands, for messages: "jpeg at 30 on kodim01.png"."""
        return f"{self.label} at {self.rate:g} on {self.image}"


_OF_ANY_TIME = ("in_tables", "measured")
"""What two rows may differ in and still say the same."""


def same_stream(one: Cell, other: Cell) -> bool:
    """Whether two measurements of one cell are of the same bitstream; where that is not known, of the same length."""
    if one.stream and other.stream:
        return one.stream == other.stream
    return one.bytes is not None and one.bytes == other.bytes


def with_metrics_of(cell: Cell, other: Cell) -> Cell:
    """Return a cell with those metrics of another measurement of it that it lacks, where both are of one stream."""
    if cell.error or other.error or not same_stream(cell, other):
        return cell
    lacking = _metrics(other) - _metrics(cell)
    if not lacking:
        return cell
    values = {name: value for name, value in other.metrics.items() if name in lacking}
    fingerprints = {name: value for name, value in other.metric_fingerprints.items() if name in lacking}
    return replace(cell, metrics=cell.metrics | values, metric_fingerprints=cell.metric_fingerprints | fingerprints)


def lost_metrics(old: Cell, new: Cell) -> list[str]:
    """Return the metrics of a measured row that go where another measurement of it takes its place."""
    return sorted(_metrics(old) - _metrics(with_metrics_of(new, old)))


def _metrics(cell: Cell) -> set[str]:
    # Undefined for a small image: a fingerprint without a value. Of an old file: a value without a fingerprint.
    return set(cell.metrics) | set(cell.metric_fingerprints)


def best_by_key(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Return what is known of each key, whatever the label: of the last good row, with metrics of those before.

    Args:
        cells: rows, the oldest first.
    """
    best: dict[str, Cell] = {}
    for cell in cells:
        before = best.get(cell.key)
        if before is None or before.error or not cell.error:
            best[cell.key] = cell if before is None else with_metrics_of(cell, before)
    return best


def differences(
    one: Cell, other: Cell, *, tolerance: float = 0.0, but: Container[str] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what two good rows of one cell say differently: column, the one's value, the other's.

    What only one of them knows is no difference, nor whether tables show it, nor when it was measured.

    Args:
        one: a row.
        other: another one.
        tolerance: by which numbers may differ, for files that hold them rounded; 0 wants them exactly equal.
        but: attributes that are not compared.
    """
    for name in (each.name for each in fields(Cell)):
        first, second = getattr(one, name), getattr(other, name)
        if name in ("metrics", "metric_fingerprints"):
            for metric in sorted(first.keys() & second.keys()):
                if not _agree(first[metric], second[metric], tolerance):
                    yield metric if name == "metrics" else f"version of {metric}", first[metric], second[metric]
        elif name in but or name in _OF_ANY_TIME or first in ("", None) or second in ("", None):
            continue
        elif not _agree(first, second, tolerance):
            yield name, first, second


def _agree(first: Any, second: Any, tolerance: float) -> bool:
    if _is_number(first) and _is_number(second):
        return bool(first == second or abs(first - second) <= tolerance or (first != first and second != second))
    return canonical_json(first) == canonical_json(second)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
