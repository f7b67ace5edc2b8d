"""What to measure: an experiment, read from YAML and validated before anything runs."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rdbench.describing import NotDescribedError, describe_all, describe_codec
from rdbench.errors import BenchError, did_you_mean
from rdbench.experiment_values import (
    Label,
    Number,
    Options,
    Text,
    WholeNumber,
    check_label,
    check_rates,
    check_variants,
    line_of_problem,
    shown_value,
)
from rdbench.files import read_text
from rdbench.metrics import metric_class
from rdbench.strict_yaml import load_yaml, parse_number
from rdcodecs import CodecError, MissingDependencyError, RateError, RateSpec
from rdcodecs.registry import UnknownCodecError


class ExperimentError(BenchError):
    """The experiment file is missing, malformed, or asks for something that does not exist."""


class CodecEntry(BaseModel):
    """One codec of an experiment, with its rate points."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    codec: Text = Field(description="Name of a codec (`rdbench codecs` lists them) or `path/to/file.py:Class`.")
    label: Label = Field(default="", description="Name in tables and plots; by default the codec's name.")
    options: Options = Field(default_factory=dict, description="The codec's options.")
    rates: list[Number] = Field(
        default_factory=list,
        description="Rate points in the codec's own parameter (QP, quality, level); by default the codec's own.",
    )
    decode: Options = Field(
        default_factory=dict,
        description="Decode options. A list asks for one curve per value: `steps: [5, 10, 20, 50]`.",
    )

    _distinct_rates = field_validator("rates")(check_rates)
    _distinct_variants = field_validator("decode")(check_variants)


class Experiment(BaseModel):
    """What to measure: dataset x codecs x rate points x decode options x metrics."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="Names the folder `results/<name>`."
    )
    description: str = Field(default="", description="One line for people.")
    dataset: Text = Field(description="`samples`, `kodak`, `diffusiondb` or `folder:PATH`; see docs/datasets.md.")
    limit: WholeNumber | None = Field(default=None, ge=1, description="Take the first N images only.")
    codecs: list[CodecEntry] = Field(min_length=1, description="What is compared.")
    metrics: list[str] = Field(min_length=1, description="Metric names; see docs/metrics.md.")
    anchor: str | None = Field(default=None, description="Label that BD figures are given against.")
    bd_method: Literal["pchip", "akima", "cubic"] = Field(
        default="pchip", description="Interpolation of the Bjontegaard integral."
    )
    overlay: list[str] = Field(
        default_factory=list,
        description="Published curves drawn dashed, e.g. `published/compressai-kodak/vtm`.",
    )
    timeout: Number = Field(default=3600, gt=0, le=1e8, description="Seconds one encode with its decodes may take.")
    verify: bool = Field(
        strict=True,
        default=True,
        description="Decode one bitstream of each codec configuration a second time, in a fresh process, and compare.",
    )


def load_experiment(path: Path) -> Experiment:
    """Read and validate an experiment.

    Args:
        path: a YAML file.

    Raises:
        ExperimentError: one line naming the file, the key and what is wrong with it.
    """
    try:
        document = load_yaml(read_text(path))
    except FileNotFoundError as error:
        raise ExperimentError(f"no experiment file '{path}'") from error
    except (OSError, UnicodeError) as error:
        raise ExperimentError(f"cannot read '{path}': {error}") from error
    except yaml.YAMLError as error:
        raise ExperimentError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document.data, dict):
        raise ExperimentError(f"'{path}' must hold keys like name, dataset, codecs and metrics")
    return validate_experiment(document.data, source=str(path), line=document.line)


def validate_experiment(
    data: Mapping[str, Any],
    *,
    source: str = "experiment",
    line: Callable[[Sequence[int | str]], int | None] | None = None,
) -> Experiment:
    """Make an experiment from plain data, checking every name and rate in it.

    Args:
        data: as of a YAML file.
        source: what messages begin with.
        line: returns the line in the file of what stands at a place (keys and indices).

    Raises:
        ExperimentError: one line, starting with `source`.
    """
    try:
        experiment = Experiment.model_validate(dict(data))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = line_of_problem(problem, line) if line is not None else None
        at = "" if where is None else f", line {where}"
        raise ExperimentError(f"{source}{at}: {_first_problem(error)}") from error
    try:
        return resolve(experiment)
    except BenchError as error:
        raise ExperimentError(f"{source}: {error}") from error


def parse_rates(text: str) -> list[float]:
    """Return the rates of a list with commas between them, as the command line has it.

    Raises:
        ExperimentError: one is not a plain decimal number, or two are the same.
    """
    try:
        rates = [float(parse_number(part.strip())) for part in text.split(",")]
        if not all(map(math.isfinite, rates)):
            raise ValueError("rates are finite numbers")
        return check_rates(rates)
    except (ValueError, OverflowError) as error:
        raise ExperimentError(
            f"--rates {text}: give numbers with commas between them, e.g. 22,27,32 ({error})"
        ) from error


def resolve(experiment: Experiment) -> Experiment:
    """Fill in labels and default rates, and check codecs, options, rates, metrics and the anchor.

    Raises:
        BenchError: one line saying what does not exist or is out of range.
    """
    limit = experiment.timeout
    describe_all([(entry.codec, entry.options) for entry in experiment.codecs], limit_s=limit)
    entries = [resolve_entry(entry, limit_s=limit) for entry in experiment.codecs]
    for entry in entries:  # labels and rates may be the codec's own
        try:
            check_label(entry.label)
            check_rates(entry.rates)
        except ValueError as error:
            raise ExperimentError(f"codec '{entry.codec}': {error}") from error
    labels = [entry.label for entry in entries]
    for label in labels:
        if labels.count(label) > 1:
            raise ExperimentError(f"two codecs have the label '{label}': give each a `label:` of its own")
    if experiment.anchor is not None and experiment.anchor not in labels:
        shown = _curves_shown(entries, limit)
        if experiment.anchor not in shown:
            raise ExperimentError(did_you_mean("anchor", experiment.anchor, [*labels, *shown]))
    for name in experiment.metrics:
        metric_class(name)
        if experiment.metrics.count(name) > 1:
            raise ExperimentError(f"metric '{name}' stands there twice")
    return experiment.model_copy(update={"codecs": entries})


def resolve_entry(entry: CodecEntry, *, limit_s: float = 3600.0) -> CodecEntry:
    """Fill in an entry's label and rates, and check it against its codec.

    A codec that cannot be made for a reason that is no error of the experiment is let pass: the run says what it is,
    and the others go on.

    Args:
        entry: what the experiment asks for.
        limit_s: seconds that a codec which does not ship may take to be loaded.
    """
    left_out = entry.model_copy(update={"label": entry.label or entry.codec})
    try:
        codec = describe_codec(entry.codec, entry.options, limit_s=limit_s, complete=False)
    except MissingDependencyError:
        return left_out
    except UnknownCodecError as error:
        raise ExperimentError(str(error)) from error
    except NotDescribedError as error:
        if error.kind == UnknownCodecError.__name__:
            raise ExperimentError(str(error)) from error
        if not _is_about_options(entry, error):
            return left_out
        raise ExperimentError(f"codec '{entry.codec}': {error}") from error
    except (CodecError, TypeError, ValueError) as error:
        raise ExperimentError(f"codec '{entry.codec}': {error}") from error
    except Exception:  # a codec that ships has a bug on this machine
        return left_out
    rates = entry.rates or list(codec.default_rates)
    if not rates:
        raise ExperimentError(f"codec '{entry.codec}' has no default rates: give `rates:` ({_rate_hint(codec.rate)})")
    for rate in rates:
        try:
            codec.rate.validate(rate)
        except RateError as error:
            raise ExperimentError(f"codec '{entry.codec}': {error}") from error
    for option in entry.decode:
        if option not in codec.decode_options:
            kind = f"decode option of codec '{entry.codec}'"
            raise ExperimentError(
                did_you_mean(kind, option, codec.decode_options)
                if codec.decode_options
                else f"codec '{entry.codec}' has no decode options, so no '{option}'"
            )
    return entry.model_copy(update={"label": entry.label or codec.name, "rates": rates})


def _is_about_options(entry: CodecEntry, error: NotDescribedError) -> bool:
    """Whether a codec of one's own refuses the options that the experiment gives."""
    if error.stage != "__init__" or error.base == MissingDependencyError.__name__:
        return False
    return error.base is not None or (bool(entry.options) and error.kind in {"TypeError", "ValueError"})


def decode_variants(entry: CodecEntry, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of an entry's decode options, each completed with the codec's defaults."""
    variants: list[dict[str, Any]] = [dict(defaults)]
    for option, value in entry.decode.items():
        values: Sequence[Any] = value if isinstance(value, list) else [value]
        variants = [variant | {option: each} for variant in variants for each in values]
    return variants


def _curves_shown(entries: Sequence[CodecEntry], limit_s: float) -> list[str]:
    """Return the names that tables and plots give to the curves of codecs decoded in several ways."""
    from rdbench.records import name_curves  # pandas: only for an anchor that is no label

    decodings = []
    for entry in entries:
        defaults: Mapping[str, Any] = {}
        with contextlib.suppress(Exception):  # the run says why a codec is left out
            defaults = describe_codec(entry.codec, entry.options, limit_s=limit_s, complete=False).decode_options
        decodings += [(entry.label, variant) for variant in decode_variants(entry, defaults)]
    return name_curves(decodings)


def _rate_hint(spec: RateSpec) -> str:
    high = "" if math.isinf(spec.high) else f" to {spec.high:g}"
    return f"{spec.name} {spec.low:g}{high}"


def _first_problem(error: ValidationError) -> str:
    """Turn pydantic's report into one line, with a suggestion for a key that does not exist."""
    problem = error.errors(include_url=False)[0]
    *parents, key = problem["loc"]
    if problem["type"] in {"extra_forbidden", "missing"}:
        model = CodecEntry if parents and parents[0] == "codecs" else Experiment
        message = (
            f"the key '{key}' is missing"
            if problem["type"] == "missing"
            else did_you_mean("key", str(key), model.model_fields)
        )
        return f"{_place(parents)}: {message}" if parents else message
    if problem["type"] == "string_type":
        return f"{_place(problem['loc'])}: {shown_value(problem['input'])} is not text: put it in quotes"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{_place(problem['loc'])}: {message[0].lower()}{message[1:]}"


def _place(parts: Sequence[int | str]) -> str:
    """Return where something stands, counting from one: "codecs, entry 2, rates"."""
    return ", ".join(f"entry {part + 1}" if isinstance(part, int) else part for part in parts)
