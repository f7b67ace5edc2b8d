"""The ledger's cells as records.csv and back: one row a cell, sorted so that a diff of two runs reads well."""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from rdbench.datasets.folder import natural_key
from rdbench.errors import BenchError
from rdbench.files import atomic_text
from rdbench.keys import canonical_json
from rdbench.ledger import Cell

_FIRST = (
    "experiment", "dataset", "image", "width", "height", "codec", "label", "fingerprint", "rate", "steps", "options",
    "bytes", "bpp", "encode_s", "decode_s",
)  # fmt: skip
_LAST = ("error", "image_hash", "key")
_DECIMALS = 6


def select_cells(cells: Mapping[str, Cell], planned: Iterable[Cell], dataset: str) -> list[Cell]:
    """Choose the cells that belong into the records, never two configurations under one label.

    What the plan asks for comes under the plan's labels. Of a label that is not planned (its codec cannot run on
    this machine, or was not asked for this time) the rows of its newest configuration stay.

    Args:
        cells: the ledger, by key.
        planned: the plan's cells.
        dataset: only cells of this dataset are taken.
    """
    chosen: dict[tuple[Any, ...], Cell] = {}
    current: dict[str, str] = {}
    for plan in planned:
        current[plan.label] = plan.fingerprint
        cell = cells.get(plan.key)
        if cell is not None:
            cell = replace(
                cell,
                label=plan.label,
                codec=plan.codec,
                image=plan.image,
                codec_options=plan.codec_options,
                decode_options=plan.decode_options,
            )
            chosen[_identity(cell)] = cell
    others = sorted((cell for cell in cells.values() if cell.dataset == dataset), key=lambda cell: cell.measured)
    newest = {cell.label: cell.fingerprint for cell in others}
    for cell in reversed(others):
        if cell.fingerprint == current.get(cell.label, newest[cell.label]):
            chosen.setdefault(_identity(cell), cell)
    return sorted(chosen.values(), key=_sort_key)


def write_records(path: Path, experiment: str, cells: Sequence[Cell], metrics: Sequence[str]) -> None:
    """Write records.csv (UTF-8, RFC 4180), as a whole or not at all.

    Args:
        path: the file.
        experiment: the experiment's name.
        cells: what `select_cells` chose.
        metrics: the order of the metric columns; metrics found beside these follow, sorted.
    """
    found = {name for cell in cells for name in cell.metrics}
    columns = [*metrics, *sorted(found.difference(metrics))]
    with atomic_text(path) as file:
        writer = csv.writer(file)
        writer.writerow([*_FIRST, *columns, *_LAST])
        writer.writerows(_row(experiment, cell, columns) for cell in cells)


def read_cells(path: Path, metric_fingerprints: Mapping[str, str]) -> list[Cell]:
    """Read records.csv back into cells, for a ledger that is lost or was never there.

    Args:
        path: a records.csv.
        metric_fingerprints: metric name → digest with which its column was computed; other columns are read, but
            count as out of date.

    Raises:
        BenchError: the file is not a records.csv.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [_cell(row, metric_fingerprints) for row in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise BenchError(f"'{path}' is not a records.csv of rdbench ({error}): move it away") from error


def _identity(cell: Cell) -> tuple[Any, ...]:
    return cell.label, cell.image, cell.rate, canonical_json(cell.decode_options)


def _sort_key(cell: Cell) -> tuple[Any, ...]:
    steps = cell.decode_options.get("steps")
    steps = -1 if steps is None else steps
    return cell.label, natural_key(PurePath(cell.image)), cell.rate, steps, canonical_json(cell.decode_options)


def _row(experiment: str, cell: Cell, metrics: Sequence[str]) -> list[Any]:
    options = cell.codec_options | cell.decode_options
    steps = options.pop("steps", None)
    steps = "" if steps is None else steps
    bpp = None
    if cell.bytes is not None and cell.width is not None and cell.height is not None:
        bpp = 8 * cell.bytes / (cell.width * cell.height)
    first = [
        experiment, cell.dataset, cell.image, cell.width, cell.height, cell.codec, cell.label, cell.fingerprint,
        f"{cell.rate:g}", steps, canonical_json(options), cell.bytes, _number(bpp), _number(cell.encode_s),
        _number(cell.decode_s),
    ]  # fmt: skip
    return [
        *first,
        *(_number(cell.metrics.get(name)) for name in metrics),
        cell.error,
        cell.image_hash,
        cell.key,
    ]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".") if math.isfinite(value) else str(value)


def _cell(row: Mapping[str, str], metric_fingerprints: Mapping[str, str]) -> Cell:
    names = [name for name in row if name not in _FIRST + _LAST]
    steps = {"steps": int(row["steps"])} if row["steps"] else {}
    return Cell(
        key=row["key"],
        encode_key="",
        label=row["label"],
        codec=row["codec"],
        fingerprint=row["fingerprint"],
        image=row["image"],
        image_hash=row["image_hash"],
        dataset=row["dataset"],
        rate=float(row["rate"]),
        codec_options=json.loads(row["options"]),
        decode_options=steps,
        measured="",
        width=int(row["width"]) if row["width"] else None,
        height=int(row["height"]) if row["height"] else None,
        bytes=int(row["bytes"]) if row["bytes"] else None,
        encode_s=float(row["encode_s"]) if row["encode_s"] else None,
        decode_s=float(row["decode_s"]) if row["decode_s"] else None,
        metrics={name: float(row[name]) for name in names if row[name]},
        metric_fingerprints={} if row["error"] else {n: f for n, f in metric_fingerprints.items() if n in names},
        error=row["error"],
    )
