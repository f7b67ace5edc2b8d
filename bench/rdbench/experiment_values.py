"""The values that an experiment takes: what counts as a number, a label, an option, and why another does not.

Nothing is converted that a reader might have meant otherwise: text in quotes is no number, true is not 1.
"""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from rdbench.keys import canonical_json
from rdbench.strict_yaml import Ambiguous
from rdbench.text import LIMIT, printable

_DEEPEST = 20


class AmbiguousError(ValueError):
    """A scalar that readers of YAML take for different things, where that matters."""

    def __init__(self, scalar: Ambiguous, why: str) -> None:
        super().__init__(why)
        self.line = scalar.line


def _number(value: object) -> float:
    if isinstance(value, Ambiguous):
        raise AmbiguousError(value, value.why_no_number)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError("a number too large to be of use") from None
    raise ValueError(f"{shown_value(value)} is not a number" + _unquoted(value))


def _whole(value: object) -> int:
    if isinstance(value, Ambiguous):
        raise AmbiguousError(value, value.why_no_number)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    raise ValueError(f"{shown_value(value)} is not a whole number" + _unquoted(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown_value(value)} is not text: put it in quotes")
    return str.__str__(value)


def check_label(value: object) -> str:
    """Return a label, or raise ValueError where it cannot be shown everywhere as it is."""
    text = _text(value)
    if not text.strip():
        raise ValueError("a label without any letter cannot be seen: give it a name, or leave `label:` out")
    if text != text.strip():
        raise ValueError("a blank before or after a label cannot be seen: leave it out")
    if len(text) > LIMIT:
        raise ValueError(f"a label has at most {LIMIT} characters, this one has {len(text)}")
    if printable(text, None) != text:
        raise ValueError(f"{shown_value(text)} has characters that cannot be shown: leave them out")
    return text


def _options(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown_value(value)} is no list of options: write name: value")
    return {_text(name): _option(each, 1) for name, each in value.items()}


def _option(value: Any, depth: int) -> Any:
    """Return an option's value as plain data; a scalar in it must be one to every reader of YAML."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, Ambiguous):
        if not value.is_time:
            raise AmbiguousError(value, value.why)
        return str.__str__(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if isinstance(value, Mapping):
        return {_text(key): _option(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_option(each, depth + 1) for each in value]
    return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
"""A finite number."""
WholeNumber = Annotated[int, BeforeValidator(_whole)]
"""A whole number, not a truth value."""
Text = Annotated[str, PlainValidator(_text)]
"""Text. It may hold bytes that are not UTF-8, as paths do."""
Label = Annotated[str, PlainValidator(check_label)]
"""A name that can be shown everywhere as it is."""
Options = Annotated[dict[str, Any], PlainValidator(_options)]
"""Options by name."""


def check_rates(rates: list[float]) -> list[float]:
    """Return the rates, or raise ValueError where two are the same as they are shown: with six significant digits."""
    shown: dict[str, float] = {}
    for rate in rates:
        text = f"{rate + 0.0:g}"  # not -0
        other = shown.setdefault(text, rate)
        if other == rate and sum(each == rate for each in rates) > 1:
            raise ValueError("the same rate stands there twice")
        if other != rate:
            raise ValueError(f"{other!r} and {rate!r} are both shown as {text}, six digits: leave one of them out")
    return rates


def check_variants(decode: dict[str, Any]) -> dict[str, Any]:
    """Return the decode options, or raise ValueError where a list is empty or names a value twice, or steps are odd."""
    for name, value in decode.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"{name}: an empty list asks for nothing: give values, or leave it out")
        if name == "steps":
            for each in values:
                if each is not None:
                    _steps(each)
        seen: list[Any] = []
        for each in values:
            if any(_same(each, other) for other in seen):
                raise ValueError(f"{name}: {shown_value(each)} stands there twice")
            seen.append(each)
    return decode


def line_of_problem(problem: Mapping[str, Any], line: Callable[[Sequence[int | str]], int | None]) -> int | None:
    """Return the line of what pydantic complains of."""
    exact: int | None = getattr(problem.get("ctx", {}).get("error"), "line", None)
    return exact or line(problem["loc"])


def _steps(value: Any) -> None:
    try:
        whole = _whole(value)
    except ValueError as error:
        raise ValueError(f"steps: {error}") from None
    if whole < 0:
        raise ValueError(f"steps: {whole} is below zero")


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, numbers.Real) and isinstance(second, numbers.Real):
        return first == second
    return canonical_json(first) == canonical_json(second)


def shown_value(value: object) -> str:
    """Return a value as a message names it: text in quotes, true and false as YAML writes them."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{printable(value, 60)}'" if isinstance(value, str) else printable(value, 60)


def _unquoted(value: object) -> str:
    """Return how to write a number that stands in quotes."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return " but text: leave the quotes out"
