"""records.csv: reading it, checking it, and telling which rows make one curve."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdbench.errors import BenchError
from rdbench.layout import RECORDS
from rdbench.metrics import metric_names
from rdbench.record_format import (
    JSON,
    NUMBERS,
    SCHEMA,
    TEXT,
    RowError,
    curve_options,
    json_text,
    metric_names_in,
    other_separator,
    schema_of,
    shown_steps,
)
from rdbench.text import read_cell_text

REQUIRED = ("image", "label", "rate", "steps", "options", "bpp", "encode_s", "decode_s", "error")
"""Columns without which there is no curve."""
_AS_TEXT = (*TEXT, *JSON, "in_tables", "schema")


class RecordsError(BenchError):
    """Records that cannot be read, or that contradict themselves."""


def load_records(path: Path | str) -> pd.DataFrame:
    """Read those rows of records.csv that tables show.

    Args:
        path: the file, or the results folder that holds it.

    Returns:
        One row per cell, with the columns of the file and those that `with_curves` adds. Text is as it was measured,
        without the file's escapes, and `options` holds the codec's options and those of the decode, which together
        tell the curves of a label apart.

    Raises:
        RecordsError: the file is missing, empty, not a table, lacks a column, or holds text where a number
            belongs.
    """
    file = Path(path)
    if file.is_dir():
        file /= RECORDS
    numbers = [*NUMBERS, *metric_names()]
    try:
        frame = pd.read_csv(
            file,
            encoding="utf-8-sig",
            # an image may well be called "null" or "NA": only number columns have missing values
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in numbers},
            dtype=dict.fromkeys(_AS_TEXT, "str"),
        )
    except FileNotFoundError as error:
        what = "run the experiment first, or again if its run was killed"
        raise RecordsError(f"'{file}' does not exist: {what}") from error
    except pd.errors.EmptyDataError as error:
        raise RecordsError(f"'{file}' is empty: run the experiment again") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise RecordsError(f"'{file}' is not a CSV table: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise RecordsError(f"cannot read '{file}': {error.strerror or error}") from error
    try:
        frame = _shown(frame)
    except RowError as error:
        raise RecordsError(f"'{file}' cannot be read: {error}") from error
    except RecordsError as error:
        raise RecordsError(f"'{file}' {error}") from error
    for name in (name for name in numbers if name in frame.columns):
        values = pd.to_numeric(frame[name], errors="coerce")
        wrong = values.isna() & frame[name].notna()
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise RecordsError(f"'{file}', row {row + 1}: {name} is '{frame[name].iloc[row]}', not a number")
        frame[name] = values.astype(float)
    try:
        return with_curves(frame)
    except RecordsError as error:
        raise RecordsError(f"'{file}' {error}") from error


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that tables show, read as the format's version says."""
    if len(frame.columns) == 1 and (separator := other_separator(str(frame.columns[0]))):
        raise RecordsError(f"has its columns separated by {separator}: save it with commas")
    if "schema" not in frame.columns:
        if "in_tables" in frame.columns:
            raise RecordsError("lacks the column schema, which says how to read it")
        return frame
    cut = frame["schema"].isna().to_numpy()
    if cut.any():
        raise RowError(f"row {int(np.flatnonzero(cut)[0]) + 1} is cut off")
    schemas = {text: schema_of({"schema": text}) for text in frame["schema"].unique()}
    new = frame["schema"].map(schemas) == SCHEMA
    if "in_tables" in frame.columns:
        frame = frame[~new | (frame["in_tables"] != "no")].copy()
        new = new[frame.index]
    for name in (name for name in TEXT if name in frame.columns):
        texts = {text: read_cell_text(text) for text in frame[name].unique()}
        frame[name] = frame[name].where(~new, frame[name].map(texts))
    if {"options", "decode_options"} <= set(frame.columns):
        both = frame[["options", "decode_options"]]
        pairs = {pair: _together(*pair) for pair in both.drop_duplicates().itertuples(index=False, name=None)}
        together = [pairs[pair] for pair in both.itertuples(index=False, name=None)]
        frame["options"] = frame["options"].where(~new, together)
    return frame.rename(columns=metric_names_in(frame.columns)).reset_index(drop=True)


def _together(options: str, decode_options: str) -> str:
    codec, decode = (_object(text) for text in (options, decode_options))
    return json_text(curve_options(codec, decode))


def with_curves(records: pd.DataFrame) -> pd.DataFrame:
    """Return records with a column `curve`: the name of the curve that each row is a point of.

    A curve is one label decoded in one way. It is named after its label; where a label has several step
    counts, or other decode options that vary, these are added: "fusion, 10 steps", "fusion, 10 steps,
    renorm=false".

    Args:
        records: rows with the columns `REQUIRED`. Returned as they are if they have the column `curve`
            already.

    Raises:
        RecordsError: a column is missing, there are no rows, or one point was measured twice.
    """
    if "curve" in records.columns:
        return records
    missing = [name for name in REQUIRED if name not in records.columns]
    if missing:
        raise RecordsError(f"lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    if records.empty:
        raise RecordsError("holds no rows: nothing has been measured")
    frame = records.assign(**{name: _text(records[name]) for name in ("error", "options")})
    decoded = ["label", "steps", "options"]
    names = _curve_names(frame[decoded].drop_duplicates().to_numpy(dtype=object).tolist())
    which = frame.groupby(decoded, dropna=False, sort=False).ngroup()
    frame["curve"] = np.array(names, dtype=object)[which.to_numpy()]
    frame["curve"] = frame["curve"].astype("category")
    point = [name for name in ("curve", "dataset", "image", "rate") if name in frame.columns]
    twice = frame.duplicated(point).to_numpy()
    if twice.any():
        at = int(np.flatnonzero(twice)[0])
        row = frame[point].iloc[at]
        if "key" in frame.columns and frame["key"].duplicated().to_numpy()[at]:
            raise RecordsError(
                f"holds the row of '{row['curve']}' for {row['image']} at rate {row['rate']:g} twice: `rdbench run` or "
                "`rdbench merge` makes one row of them"
            )
        raise RecordsError(
            f"holds two rows of '{row['curve']}' for {row['image']} at rate {row['rate']:g}: "
            "give codecs that differ labels that differ"
        )
    return frame


def curve_names(records: pd.DataFrame) -> list[str]:
    """Return the names of the curves: labels in the order of the rows, each by ascending step count."""
    frame = with_curves(records)
    curves = frame.drop_duplicates("curve")[["curve", "label", "steps"]]
    place = {label: i for i, label in enumerate(dict.fromkeys(curves["label"]))}
    steps = curves["steps"].fillna(-1.0)
    order = sorted(zip(curves["label"].map(place), steps, curves["curve"], strict=True))
    return [str(name) for _, _, name in order]


def metric_columns(records: pd.DataFrame) -> list[str]:
    """Return the metrics that the records have a value of, in the order of the columns."""
    known = set(metric_names())
    return [str(name) for name in records.columns if name in known and records[name].notna().any()]


def failures(records: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that failed: columns curve, image, rate, error."""
    frame = with_curves(records)
    return frame.loc[frame["error"] != "", ["curve", "image", "rate", "error"]].reset_index(drop=True)


def summary(records: pd.DataFrame) -> pd.DataFrame:
    """Return the table of summary.csv: one row per curve and rate.

    The columns are curve, label, steps, rate, n_images (cells that did not fail), n_errors, then the means
    over those images of bpp, each metric, encode_s and decode_s. A metric that covers fewer images anywhere
    (it is not defined for small ones, say) is followed by `<metric>_images`, how many it covers. The mean
    PSNR of a rate with a lossless image is infinite. Where rates of a label average different images, the column
    `note` says at each of them which it lacks.
    """
    frame = with_curves(records)
    names = curve_names(frame)
    metrics = metric_columns(frame)
    columns = ["bpp", *metrics, "encode_s", "decode_s"]
    place = frame["curve"].astype(object).map({name: i for i, name in enumerate(names)})
    keys = [place.rename("place"), frame["rate"]]
    failed = frame["error"] != ""
    values = frame[columns].astype(float).mask(failed)
    # pandas' compensated sum of an infinity is NaN: average the finite values and put infinity back
    lossless = values.isin([np.inf])
    infinite = lossless.groupby(keys).any()
    groups = values.mask(lossless).groupby(keys)
    means = groups.mean().mask(infinite, np.inf)
    counts = values.notna().groupby(keys).sum()
    first = frame[["curve", "label", "steps"]].astype({"curve": object}).groupby(keys).first()
    n_errors = failed.groupby(keys).sum()
    table = first.assign(rate=first.index.get_level_values("rate"))
    table["n_images"] = frame.groupby(keys).size() - n_errors
    table["n_errors"] = n_errors
    for name in columns:
        table[name] = means[name]
        if name in metrics and (counts[name] != table["n_images"]).any():
            table[f"{name}_images"] = counts[name]
    notes = _image_notes(frame, failed, keys)
    if notes.any():
        table["note"] = notes
    return table.reset_index(drop=True)


def _image_notes(frame: pd.DataFrame, failed: "pd.Series[bool]", keys: list[Any]) -> "pd.Series[str]":
    """Return for each curve and rate what its averages lack of the images that its label's others have."""
    image = ["dataset", "image"] if "dataset" in frame.columns else ["image"]
    numbers = frame.groupby(image, sort=False).ngroup()
    # Sets are slow for 100,000 rows; where every rate has as many images as its label, there is nothing to say.
    of_label = numbers.mask(failed).groupby(frame["label"].to_numpy()).nunique()
    good = numbers.mask(failed).groupby(keys).nunique()
    label = frame["label"].groupby(keys).first()
    notes = pd.Series("", index=good.index, dtype=object)
    for at in good.index[(good < label.map(of_label)).to_numpy()]:
        here = (keys[0] == at[0]) & (keys[1] == at[1])
        others = set(numbers[(frame["label"] == label[at]) & ~failed])
        lacking = others - set(numbers[here & ~failed])
        broken = len(lacking & set(numbers[here & failed]))
        parts = [f"{n} {what}" for n, what in ((broken, "failed"), (len(lacking) - broken, "missing")) if n]
        notes[at] = f"{len(others) - len(lacking)} of {len(others)} images: {', '.join(parts)}"
    return notes


def name_curves(decodings: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return the name of the curve of each label and its decode options, as `with_curves` names them in records."""
    variants = []
    for label, options in decodings:
        steps = shown_steps(options)
        text = json_text(curve_options({}, options))
        variants.append([label, math.nan if steps is None else float(steps), text])
    return _curve_names(variants)


def step_suffix(steps: float) -> str:
    """Return what the name of a curve says of its step count; NaN is none."""
    return ", no steps" if math.isnan(steps) else f", {steps:g} step{'' if steps == 1 else 's'}"


def _curve_names(variants: list[list[Any]]) -> list[str]:
    """Return a name for each (label, steps, options)."""
    read = [(str(label), steps, _options(text)) for label, steps, text in variants]
    steps_of: dict[str, set[str]] = {}
    values_of: dict[str, dict[str, set[str]]] = {}
    for label, steps, options in read:
        steps_of.setdefault(label, set()).add(str(steps))
        for key in options:
            values_of.setdefault(label, {}).setdefault(key, set())
    for label, _, options in read:
        for key, values in values_of.get(label, {}).items():
            values.add(options.get(key, "-"))
    names = []
    for label, steps, options in read:
        name = label
        if len(steps_of[label]) > 1:
            name += step_suffix(steps)
        for key, values in sorted(values_of.get(label, {}).items()):
            if len(values) > 1:
                name += f", {key}={options.get(key, '-')}"
        names.append(name)
    # Options that differ only in how they are nested, or 5 steps and 5.0: all of them then tell which is which.
    exact = [json_text(_object(str(text))) for _, _, text in variants]
    apart = {name: {text for other, text in zip(names, exact, strict=True) if other == name} for name in set(names)}
    return [f"{name}, {text}" if len(apart[name]) > 1 else name for name, text in zip(names, exact, strict=True)]


def _text(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a text column with "" for what is missing."""
    return column.astype(object).where(column.notna(), "").astype(str)


def _options(text: str) -> dict[str, str]:
    """Return the options of a row, flat, values as JSON; a step count has a column of its own."""
    return {
        key: json.dumps(value)
        for key, value in _flat(_object(text))
        if key != "steps" or (value is not None and shown_steps({"steps": value}) is None)
    }


def _object(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise RecordsError(f"has options that are not JSON: '{text}'") from error
    if not isinstance(options, dict):
        raise RecordsError(f"has options that are not a JSON object: '{text}'")
    return options


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield key, value
