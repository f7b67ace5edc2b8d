"""YAML that means what it looks like.

A scalar without quotes has its type by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).
PyYAML reads YAML 1.1, in which ``010`` is 8, ``1:30`` is 90 and ``no`` is false. Scalars whose meaning differs between
the two, and numbers in other bases, become `Ambiguous`: text, which whoever wants a number or a truth value refuses.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

_DECIMAL = r"[-+]?(?:0|[1-9][0-9]*)"
_INT = re.compile(_DECIMAL)
_FLOAT = re.compile(
    rf"{_DECIMAL}\.?(?:[eE][-+]?[0-9]+)?|(?:{_DECIMAL}\.|[-+]?\.)[0-9]+(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")

_WORDS = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?")
_BASED = re.compile(r"([-+]?)0(?:x([0-9a-fA-F_]+)|o([0-7_]+)|b([01_]+))")

_LONGEST = 60
"""Characters of the longest text that is taken for a number."""
_TAG = "tag:yaml.org,2002:"


class Ambiguous(str):
    """A scalar without quotes that is a number or a truth value to some readers of YAML.

    Attributes:
        line: the line that it stands in, from 1.
        why: what is wrong with it, and what to write.
        why_no_number: the same where a number is wanted.
        is_time: whether it is of the form 1:30, which nobody takes for a number but YAML 1.1.
    """

    line: int
    why: str
    why_no_number: str
    is_time: bool

    @classmethod
    def of(cls, text: str, line: int) -> "Ambiguous | None":
        """Return the text as such a scalar, or None where every reader takes it for text."""
        if len(text) > _LONGEST:
            return None
        time = _SEXAGESIMAL.fullmatch(text) is not None
        why = _sexagesimal(text) if time else _why(text)
        if not why:
            return None
        scalar = cls(text)
        scalar.line, scalar.why, scalar.is_time = line, f"'{text}' is {why}", time
        scalar.why_no_number = scalar.why
        if _WORDS.fullmatch(text):
            scalar.why_no_number = f"{scalar.why.partition(':')[0]}, not a number"
        return scalar


@dataclass(frozen=True)
class Document:
    """A YAML document.

    Attributes:
        data: plain values; scalars that readers of YAML differ about are `Ambiguous`.
        node: the tree that they were made from.
    """

    data: Any
    node: yaml.Node | None

    def line(self, place: Sequence[int | str]) -> int | None:
        """Return the line, from 1, of what stands at `place` (keys and indices), or of the nearest thing around it."""
        node = self.node
        for part in place:
            inner = _child(node, part)
            if inner is None:
                break
            node = inner
        return None if node is None else node.start_mark.line + 1


def load_yaml(text: str) -> Document:
    """Read a YAML document.

    Raises:
        yaml.YAMLError: it is malformed, a key stands twice in a mapping, or a tag asks for anything but the types of
            JSON.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return Document(None if node is None else loader.construct_document(node), node)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    finally:
        loader.dispose()


def parse_number(text: str) -> int | float:
    """Return a number as YAML 1.2 writes it in decimal.

    Raises:
        ValueError: it is none, or one that YAML 1.1 reads differently; the message says what to write.
    """
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    ambiguous = Ambiguous.of(text, 0)
    raise ValueError(ambiguous.why_no_number if ambiguous is not None else f"'{text}' is not a number")


class _Loader(yaml.SafeLoader):
    # PyYAML's own tables, replaced as a whole.
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice in a mapping; YAML's own rule would take the last in silence."""
        found: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise _refused("a key must be text", key_node)
            if key in found:
                raise _refused(f"the key '{key}' stands twice", key_node)
            found.add(key)
        return {self.construct_object(key, deep=True): self.construct_object(value, deep) for key, value in node.value}

    def construct_scalar_text(self, node: yaml.ScalarNode) -> str:
        """Return text; without quotes, an `Ambiguous` where it is one."""
        text = str(self.construct_scalar(node))
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise _refused("an escape stands for half a character: write the character itself", node)
        ambiguous = None if node.style else Ambiguous.of(text, node.start_mark.line + 1)
        return text if ambiguous is None else ambiguous

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Return a number, also where a tag says that it is one."""
        try:
            return parse_number(str(self.construct_scalar(node)))
        except ValueError as error:
            raise _refused(str(error), node) from None

    def construct_float(self, node: yaml.ScalarNode) -> float:
        """Return a float, also of a whole number where a tag asks for it."""
        return float(self.construct_number(node))

    def construct_bool(self, node: yaml.ScalarNode) -> bool:
        """Return a truth value: `true` or `false`."""
        text = str(self.construct_scalar(node))
        if not _BOOL.fullmatch(text):
            raise _refused(f"'{text}' is not a truth value: write true or false", node)
        return text.lower() == "true"


for _tag, _pattern in {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}.items():
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern.pattern})\Z"), None)
for _tag, _construct in {
    "null": _Loader.construct_yaml_null,
    "bool": _Loader.construct_bool,
    "int": _Loader.construct_number,
    "float": _Loader.construct_float,
    "str": _Loader.construct_scalar_text,
    "seq": _Loader.construct_yaml_seq,
    "map": _Loader.construct_yaml_map,
}.items():
    _Loader.add_constructor(_TAG + _tag, _construct)
_Loader.add_constructor(None, _Loader.construct_undefined)  # type: ignore[type-var]


def _refused(why: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, f"line {node.start_mark.line + 1}: {why}")


def _child(node: yaml.Node | None, part: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        inner: yaml.Node = node.value[part]
        return inner
    return None


def _sexagesimal(text: str) -> str:
    whole = text.replace("_", "").lstrip("+-")
    value = sum(float(part) * 60**place for place, part in enumerate(reversed(whole.split(":"))))
    return f"{'-' * text.startswith('-')}{value:g} by YAML 1.1 and text by YAML 1.2: write the number itself"


def _why(text: str) -> str:
    """Return what is wrong with a scalar as a number or truth value, or "" where nobody takes it for one."""
    if _WORDS.fullmatch(text):
        meant = "true" if text.lower() in ("yes", "on") else "false"
        return f"{meant} by YAML 1.1 and text by YAML 1.2: write {meant}, or put it in quotes"
    based = _BASED.fullmatch(text)
    if based:
        digits, base = next((d, b) for d, b in zip(based.groups()[1:], (16, 8, 2), strict=True) if d)
        if digits.strip("_"):
            value = int(digits.replace("_", ""), base)
            return f"a number in base {base}: write {based[1].strip('+')}{value}"
    if _GROUPED.fullmatch(text) and not _INT.fullmatch(text) and not _FLOAT.fullmatch(text):
        return _grouped(text)
    return ""


def _grouped(text: str) -> str:
    """Say of digits with "_" between them, or with zeros before them, how to write the number."""
    plain = text.replace("_", "")
    value = float(plain)
    decimal = f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 and math.isfinite(value) else f"{value!r}"
    if "_" in text:
        return f"a number by YAML 1.1 and text by YAML 1.2: write {decimal}"
    digits = plain.lstrip("+-")
    if set(digits) <= set("01234567") and int(digits, 8):
        return f"{int(plain, 8)} by YAML 1.1 and {decimal} by YAML 1.2: write {decimal}"
    return f"a number with a zero before it, which readers of YAML take for different things: write {decimal}"
