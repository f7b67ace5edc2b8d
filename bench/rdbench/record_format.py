"""The columns of records.csv, how text stands in them, and how a cell becomes a row and a row a cell again.

Nothing else knows these: `record_writer` writes and reads whole files with them, `records` reads the tables' part
into a frame.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.keys import canonical_json
from rdbench.metrics.registry import metric_names
from rdbench.text import cell_text, read_cell_text

SCHEMA = 2
"""Version of the format, in the column `schema`; files without that column are of version 1."""
FIRST = (
    "experiment", "dataset", "image", "width", "height", "codec", "label", "fingerprint", "rate", "steps", "options",
    "decode_options", "bytes", "bpp", "encode_s", "decode_s",
)  # fmt: skip
"""Columns before those of the metrics."""
LAST = (
    "error", "image_hash", "key", "encode_key", "stream", "measured", "metric_fingerprints", "in_tables", "schema",
)  # fmt: skip
"""Columns after those of the metrics."""
NUMBERS = ("width", "height", "rate", "steps", "bytes", "bpp", "encode_s", "decode_s")
"""Columns of numbers besides the metrics."""
TEXT = (
    "experiment", "dataset", "image", "codec", "label", "fingerprint", "error", "image_hash", "key", "encode_key",
    "stream", "measured",
)  # fmt: skip
"""Columns whose text is escaped; see `rdbench.text.cell_text`."""
JSON = ("options", "decode_options", "metric_fingerprints")
"""Columns of JSON objects."""
_NEEDED = ("dataset", "image", "codec", "label", "fingerprint", "rate", "options", "error", "image_hash", "key")
_SINCE_2 = ("decode_options", "encode_key", "stream", "measured", "metric_fingerprints", "in_tables", "schema")
"""Columns that files of schema 1 have none of, and files of schema 2 all."""
_METRIC = "metric:"
"""Before the name of a metric that this rdbench does not have: columns that others add are told apart by that."""

# Control characters, what some programs take for the end of a line, and lone surrogates, which UTF-8 does not have.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class RowError(BenchError):
    """A row of records.csv that cannot be read."""


class NewerSchemaError(RowError):
    """A row that a newer rdbench wrote."""


def json_text(value: Any) -> str:
    """Return JSON that is the same for the same content and has no character that must be escaped in a file."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", canonical_json(value))


def number_text(value: float | None) -> str:
    """Return a number as the shortest text that reads back as the same; "" for None."""
    if value is None:
        return ""
    return repr(float(value) if isinstance(value, float) else value).removesuffix(".0")


def shown_steps(options: Mapping[str, Any]) -> float | None:
    """Return the step count among decode options, where there is one and it is a number."""
    steps = options.get("steps")
    return steps if isinstance(steps, int | float) and not isinstance(steps, bool) and math.isfinite(steps) else None


def curve_options(codec_options: Mapping[str, Any], decode_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that tell the curves of a label apart, but for a step count, which has its own column."""
    options = {**codec_options, **decode_options}
    steps = options.get("steps", "")
    # 5.0 stays: in its column it could not be told from 5.
    if steps is None or (isinstance(steps, int) and steps == shown_steps(decode_options)):
        del options["steps"]
    return options


def header(metrics: Iterable[str]) -> list[str]:
    """Return the names of the columns."""
    return [*FIRST, *map(_metric_column, metrics), *LAST]


def row_of(experiment: str, cell: Cell, metrics: Sequence[str]) -> list[str]:
    """Return a cell as the texts of its columns, in the order of `header`."""
    bpp = ""
    if cell.bytes is not None and cell.width and cell.height:
        bpp = f"{8 * cell.bytes / (cell.width * cell.height):.6f}".rstrip("0").rstrip(".")
    first = [
        cell_text(experiment), cell_text(cell.dataset), cell_text(cell.image),
        number_text(cell.width), number_text(cell.height),
        cell_text(cell.codec), cell_text(cell.label), cell_text(cell.fingerprint), number_text(cell.rate),
        number_text(shown_steps(cell.decode_options)), json_text(cell.codec_options), json_text(cell.decode_options),
        number_text(cell.bytes), bpp, number_text(cell.encode_s), number_text(cell.decode_s),
    ]  # fmt: skip
    last = [
        cell_text(cell.error), cell_text(cell.image_hash), cell_text(cell.key), cell_text(cell.encode_key),
        cell_text(cell.stream),
        cell_text(cell.measured), json_text(cell.metric_fingerprints), "yes" if cell.in_tables else "no", str(SCHEMA),
    ]  # fmt: skip
    return [*first, *(number_text(cell.metrics.get(name)) for name in metrics), *last]


def check_header(columns: Sequence[str]) -> None:
    """Refuse columns that are not those of a records.csv.

    Raises:
        RowError: some are missing, or stand there twice.
    """
    if len(columns) == 1 and (separator := other_separator(columns[0])):
        raise RowError(f"its columns are separated by {separator}: save it with commas")
    needed = [*_NEEDED, *(_SINCE_2 if any(name in columns for name in _SINCE_2) else ())]
    missing = [name for name in dict.fromkeys(needed) if name not in columns]
    if missing:
        raise RowError(f"it lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise RowError(f"the column {cell_text(twice[0])} stands there twice")


def other_separator(header: str) -> str:
    """Return what separates the columns of a table that is not separated by commas, "" where nothing known does."""
    names = {"semicolons": ";", "tabs": "\t"}
    return next((name for name, sign in names.items() if "label" in header.split(sign)), "")


def metric_names_in(columns: Iterable[str]) -> dict[str, str]:
    """Return column → metric, of the columns that hold metrics: this rdbench's, and others by how they are marked."""
    known = set(metric_names())
    names = {name: read_cell_text(name) for name in columns}
    return {
        name: metric.removeprefix(_METRIC)
        for name, metric in names.items()
        if metric in known or metric.startswith(_METRIC)
    }


def foreign_columns(columns: Iterable[str]) -> list[str]:
    """Return the columns that hold nothing of rdbench's: other programs add notes and row numbers."""
    named = list(columns)
    ours = {*FIRST, *LAST, *metric_names_in(named)}
    return [name for name in named if name not in ours]


def schema_of(row: Mapping[str, str]) -> int:
    """Return the version of the format that a row is written in.

    Raises:
        RowError: one that this version of rdbench does not know.
    """
    text = row.get("schema") or "1"
    try:
        schema = _whole(text)
    except ValueError as error:
        raise RowError(f"its schema is '{cell_text(text)}', not {SCHEMA}") from error
    if schema not in (1, SCHEMA):
        raise NewerSchemaError(f"it is of schema {schema}: a newer rdbench wrote it, read it with that")
    return schema


def cell_of(row: Mapping[str, str], metrics: Mapping[str, str]) -> Cell:
    """Return the cell of a row of schema 2.

    Args:
        row: column → text.
        metrics: column → metric.

    Raises:
        RowError: a text is not what belongs there.
    """
    try:
        shown = row["in_tables"]
        if shown not in ("yes", "no"):
            raise ValueError(f"in_tables is '{shown}', not yes or no")
        return Cell(
            key=read_cell_text(row["key"]),
            encode_key=read_cell_text(row["encode_key"]),
            label=read_cell_text(row["label"]),
            codec=read_cell_text(row["codec"]),
            fingerprint=read_cell_text(row["fingerprint"]),
            image=read_cell_text(row["image"]),
            image_hash=read_cell_text(row["image_hash"]),
            dataset=read_cell_text(row["dataset"]),
            codec_options=_object(row["options"]),
            decode_options=_object(row["decode_options"]),
            measured=read_cell_text(row["measured"]),
            stream=read_cell_text(row["stream"]),
            metric_fingerprints=_object(row["metric_fingerprints"]),
            error=read_cell_text(row["error"]),
            in_tables=shown == "yes",
            **_numbers(row, metrics),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable(error) from error


def old_cell_of(row: Mapping[str, str], metrics: Mapping[str, str], decode: Mapping[str, Any]) -> Cell:
    """Return the cell of a row of schema 1, which has all options in one column and says nothing of versions.

    Args:
        row: column → text.
        metrics: column → metric.
        decode: those of the row's options that are decode options.

    Raises:
        RowError: a text is not what belongs there.
    """
    try:
        options = _object(row["options"])
        steps = {"steps": _whole(row["steps"])} if row.get("steps") else {}
        return Cell(
            key=row["key"],
            encode_key="",
            label=row["label"],
            codec=row["codec"],
            fingerprint=row["fingerprint"],
            image=row["image"],
            image_hash=row["image_hash"],
            dataset=row["dataset"],
            codec_options={name: value for name, value in options.items() if name not in decode},
            decode_options={name: options[name] for name in decode} | steps,
            measured="",
            error=row["error"],
            **_numbers(row, metrics),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable(error) from error


def _numbers(row: Mapping[str, str], metrics: Mapping[str, str]) -> dict[str, Any]:
    return {
        "rate": float(row["rate"]),
        "width": _whole(row["width"]) if row.get("width") else None,
        "height": _whole(row["height"]) if row.get("height") else None,
        "bytes": _whole(row["bytes"]) if row.get("bytes") else None,
        "encode_s": float(row["encode_s"]) if row.get("encode_s") else None,
        "decode_s": float(row["decode_s"]) if row.get("decode_s") else None,
        "metrics": {metric: float(row[name]) for name, metric in metrics.items() if row.get(name)},
    }


def _whole(text: str) -> int:
    """Return a whole number; other programs may have made "12" into "12.0"."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise
        return int(value)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    if not isinstance(value, dict):
        raise ValueError(f"'{text}' is not a JSON object")
    return value


def _metric_column(name: str) -> str:
    return cell_text(name if name in metric_names() else f"{_METRIC}{name}")


def _unreadable(error: Exception) -> RowError:
    what = f"no column {error}" if isinstance(error, KeyError) else str(error)
    return RowError(cell_text(what))
