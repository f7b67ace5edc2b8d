import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rdbench.strict_yaml import Ambiguous, load_yaml, parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("+5", 5),
        ("0", 0),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        (".5e3", 500.0),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("tRue", "tRue"),
        ("2024-01-01", "2024-01-01"),
        ("y", "y"),
        ("<<", "<<"),
        ("'010'", "010"),
        ('"yes"', "yes"),
        ("!!float 1", 1.0),
        ("!!str 10", "10"),
    ],
)
def test_a_scalar_has_its_type_by_yaml_1_2(text: str, value: Any) -> None:
    found = load_yaml(f"a: {text}").data["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("010", "8 by YAML 1.1 and 10 by YAML 1.2: write 10"),
        ("-010", "-8 by YAML 1.1 and -10 by YAML 1.2: write -10"),
        ("08", "a number with a zero before it, which readers of YAML take for different things: write 8"),
        ("00.5", "a number with a zero before it, which readers of YAML take for different things: write 0.5"),
        ("1:30", "90 by YAML 1.1 and text by YAML 1.2: write the number itself"),
        ("-1:30", "-90 by YAML 1.1 and text by YAML 1.2: write the number itself"),
        ("1:30.5", "90.5 by YAML 1.1 and text by YAML 1.2: write the number itself"),
        ("yes", "true by YAML 1.1 and text by YAML 1.2: write true, or put it in quotes"),
        ("NO", "false by YAML 1.1 and text by YAML 1.2: write false, or put it in quotes"),
        ("On", "true by YAML 1.1 and text by YAML 1.2: write true, or put it in quotes"),
        ("off", "false by YAML 1.1 and text by YAML 1.2: write false, or put it in quotes"),
        ("1_000", "a number by YAML 1.1 and text by YAML 1.2: write 1000"),
        ("0x10", "a number in base 16: write 16"),
        ("-0x1_0", "a number in base 16: write -16"),
        ("0o17", "a number in base 8: write 15"),
        ("0b11", "a number in base 2: write 3"),
    ],
)
def test_what_readers_of_yaml_differ_about_is_marked(text: str, why: str) -> None:
    found = load_yaml(f"\n\na: {text}").data["a"]
    assert isinstance(found, Ambiguous)
    assert found == text
    assert found.line == 3
    assert found.why == f"'{text}' is {why}"
    with pytest.raises(ValueError, match=r"^'"):
        parse_number(text)


@pytest.mark.parametrize(
    "text", ["0x" + "f" * 6000, "9" * 6000, "1_" * 3000, "_", "0x_", "1:", ":1", "a:b", "1.2.3", "--1"]
)
def test_long_or_odd_texts_are_text_or_refused(text: str) -> None:
    try:
        assert type(load_yaml(f"a: {text}").data["a"]) in (str, dict)
    except yaml.YAMLError:
        assert text in ("9" * 6000, "1:")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice"),
        ("1: a\n1: b", "line 2: the key '1' stands twice"),
        ("? [a]\n: b", "line 1: a key must be text"),
        ("a: !!int 010", "line 1: '010' is 8 by YAML 1.1"),
        ("a: !!bool yes", "line 1: 'yes' is not a truth value: write true or false"),
        ("a: !!timestamp 2024-01-01", "could not determine a constructor"),
        ("a: !!set {b}", "could not determine a constructor"),
        ("a: !!binary aaaa", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ('a: "\\udcff"', "line 1: an escape stands for half a character"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x07", "special characters are not allowed"),
    ],
)
def test_what_is_no_plain_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        load_yaml(text)
    assert message in " ".join(str(caught.value).split())


def test_the_line_of_a_place_is_known() -> None:
    document = load_yaml("a: 1\nb:\n  - c: 2\n  - c: 3\n    d: [1,\n      2]\n")
    assert document.line(["b", 1, "d", 1]) == 6
    assert document.line(["b", 1, "missing"]) == 4
    assert document.line([]) == 1
    assert load_yaml("").line(["a"]) is None


@given(st.floats(allow_nan=False) | st.integers(-(10**30), 10**30) | st.booleans() | st.none())
def test_plain_values_come_back_from_what_pyyaml_writes(value: Any) -> None:
    assert load_yaml(yaml.safe_dump({"a": value})).data == {"a": value}


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_texts_come_back_from_what_pyyaml_writes(text: str) -> None:
    found = load_yaml(yaml.safe_dump({"a": text}, allow_unicode=True)).data["a"]
    assert found == text
    assert isinstance(found, str)
