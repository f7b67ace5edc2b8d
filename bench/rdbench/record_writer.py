"""records.csv: all rows of a results folder, written and read back without loss."""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from rdbench.cell import Cell
from rdbench.datasets.folder import natural_key
from rdbench.errors import BenchError
from rdbench.keys import canonical_json
from rdbench.provenance import experiment_in, metric_digests
from rdbench.record_format import (
    NewerSchemaError,
    RowError,
    cell_of,
    check_header,
    foreign_columns,
    header,
    metric_names_in,
    old_cell_of,
    row_of,
    schema_of,
    shown_steps,
)
from rdbench.text import cell_text
from rdcodecs import CodecError
from rdcodecs.registry import codec_class

_KEY_DIGITS = 24
"""Length of a key, for telling a row that was cut off in it."""


@dataclass
class ReadRecords:
    """What a records.csv holds.

    Attributes:
        cells: its rows, in their order.
        old: those of schema 1, which rounds numbers and holds only what tables show.
        problems: one line for each thing that could not be read; the rest is in `cells`.
        foreign: one line on columns that are not rdbench's and were not read, "" where there are none.
    """

    cells: list[Cell] = field(default_factory=list)
    old: set[tuple[str, str]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    foreign: str = ""


def records_bytes(experiment: str, cells: Sequence[Cell], metrics: Sequence[str]) -> bytes:
    """Return a records.csv (UTF-8, RFC 4180): what tables show first, each part sorted so that a diff reads well.

    Args:
        experiment: the experiment's name.
        cells: all rows.
        metrics: the order of the metric columns; metrics found beside these follow, sorted.
    """
    found = {name for cell in cells for name in cell.metrics}
    columns = [*metrics, *sorted(found.difference(metrics))]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(header(columns))
    writer.writerows(row_of(experiment, cell, columns) for cell in sorted(cells, key=_sort_key))
    return file.getvalue().encode()


def read_cells(path: Path, provenance: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a whole records.csv, in the order of its rows; see `read_records`.

    Raises:
        BenchError: the file is not a records.csv, or a row of it cannot be read.
    """
    records = read_records(path, provenance)
    if records.problems:
        raise BenchError(records.problems[0])
    return records.cells


def read_records(path: Path, provenance: Mapping[str, Any]) -> ReadRecords:
    """Read as much of a records.csv as can be read.

    Args:
        path: the file.
        provenance: content of the provenance.json beside it, or nothing. For files of schema 1 it says which options
            are decode options and by which versions the metrics were computed; a metric without a version counts as
            out of date.

    Raises:
        BenchError: it cannot be opened, is not a records.csv at all, holds rows of which none can be read, or is of a
            newer version of rdbench.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read '{path}': {error.strerror or error}") from error
    result = ReadRecords()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _refused(path, "it is UTF-16: save it as UTF-8")
    # What is not UTF-8 becomes surrogates, which a whole file does not have.
    text = data.decode("utf-8-sig", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = _numbered(reader, path, result.problems)
    try:
        _, columns = next(rows)
        check_header(columns)
    except (StopIteration, RowError) as error:
        raise _refused(path, str(error) or "it is empty") from error
    foreign = [cell_text(name) or "one without a name" for name in foreign_columns(columns)]
    if foreign:
        result.foreign = f"'{path}' has columns that are not rdbench's, which are left out: {', '.join(foreign)}"
    metrics = metric_names_in(columns)
    decode = _DecodeOptions(provenance)
    versions = metric_digests(provenance)
    bad: list[tuple[str, str]] = []
    last: Mapping[str, str] = {}
    for lines, row in rows:
        if row == columns or not row:  # files put one after another; an empty line
            continue
        try:
            if len(row) != len(columns):
                raise RowError(f"it has {len(row)} of {len(columns)} columns")
            last = dict(zip(columns, row, strict=True))
            if schema_of(last) == 1:
                cell = old_cell_of(last, metrics, decode.among(last))
                if not cell.error:
                    cell.metric_fingerprints.update((n, v) for n, v in versions.items() if n in metrics.values())
                result.old.add(cell.identity)
            else:
                cell = cell_of(last, metrics)
            _check_whole(row, cell)
        except NewerSchemaError as error:
            raise _refused(path, f"line {lines}: {error}") from error
        except RowError as error:
            bad.append((lines, str(error)))
            last = {}
        else:
            result.cells.append(cell)
    if not text.endswith(("\n", "\r")) and (not last or _may_be_cut(last)):
        lines = bad.pop()[0] if not last and bad else str(reader.line_num)
        if last:
            result.cells.pop()
        result.problems.append(f"'{path}' ends in the middle of a row: line {lines} is left out")
    if bad:
        if not result.cells:
            raise _refused(path, f"none of its rows can be read, line {bad[0][0]}: {bad[0][1]}")
        others = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        result.problems.append(f"'{path}', line {bad[0][0]} cannot be read ({bad[0][1]}){others}: left out")
    return result


def _refused(path: Path, why: str) -> BenchError:
    return BenchError(f"'{path}' is not a records.csv of rdbench ({why}): move it away")


def _numbered(reader: Any, path: Path, problems: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of each row and its texts, as far as the file is a table."""
    before = 0
    try:
        for row in reader:
            first, before = before + 1, reader.line_num
            yield str(first) if first == before else f"{first} to {before}", row
    except csv.Error as error:
        problems.append(f"'{path}' is no table from line {before + 1} on ({error}): the rest is left out")


def _check_whole(row: Sequence[str], cell: Cell) -> None:
    if any("\udc80" <= character <= "\udcff" for text in row for character in text):
        raise RowError("it is not UTF-8")
    if not cell.key or not cell.label:
        raise RowError("it has no key or no label")


def _may_be_cut(row: Mapping[str, str]) -> bool:
    """Whether a last line without an end may have lost something: a row ends with its schema, or, in old files, key."""
    return not row["schema"] if "schema" in row else len(row["key"]) < _KEY_DIGITS


class _DecodeOptions:
    """Tells decode options from the codec's, for files that have both in one column."""

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        entries = experiment_in(provenance).get("codecs")
        self._entries = {
            entry["label"]: entry for entry in entries or [] if isinstance(entry, dict) and "label" in entry
        }
        self._of_codec: dict[str, frozenset[str]] = {}
        self._parsed: dict[str, Mapping[str, Any]] = {}

    def among(self, row: Mapping[str, str]) -> Mapping[str, Any]:
        """Return those of a row's options that are decode options."""
        text = row["options"]
        if text in ("", "{}"):
            return {}
        options = self._options(text)
        entry = self._entries.get(row["label"])
        if entry is not None:
            own, decode = entry.get("options") or {}, entry.get("decode") or {}
            return {name: value for name, value in options.items() if name in decode or name not in own}
        known = self._known(row["codec"])
        return {name: value for name, value in options.items() if name in known}

    def _options(self, text: str) -> Mapping[str, Any]:
        if text not in self._parsed:
            try:
                value = json.loads(text)
            except ValueError as error:
                raise RowError(f"options that are not JSON: '{cell_text(text)}'") from error
            if not isinstance(value, dict):
                raise RowError(f"options that are not a JSON object: '{cell_text(text)}'")
            self._parsed[text] = value
        return self._parsed[text]

    def _known(self, codec: str) -> frozenset[str]:
        if codec not in self._of_codec:
            try:
                self._of_codec[codec] = frozenset(codec_class(codec).decode_options)
            except CodecError:  # a codec of one's own: its file is not known here
                self._of_codec[codec] = frozenset()
        return self._of_codec[codec]


def _sort_key(cell: Cell) -> tuple[Any, ...]:
    steps = shown_steps(cell.decode_options)
    return (
        not cell.in_tables,
        cell.label,
        natural_key(PurePath(cell.image)),
        cell.rate,
        -1 if steps is None else steps,
        canonical_json(cell.decode_options),
        cell.fingerprint,
        cell.key,
    )
