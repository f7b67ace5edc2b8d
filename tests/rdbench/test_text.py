import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdbench.text import (
    LIMIT,
    cell_text,
    error_line,
    escaped,
    message,
    one_line,
    printable,
    read_cell_text,
    safe_texts,
    write_anything,
)
from rdcodecs import StreamError, load_codec

ANY_TEXT = st.text(st.characters(), max_size=40) | st.text("\\'=+-@nrtxuU0fd\n\r\t\udcff\u202e\x1b", max_size=12)
HOSTILE = "bad name \udcff\nsecond line \x1b[31m\u202egnp.exe\u2028\x9b1m\x00"


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class EndingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


class NumericError(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Loud(str):
    def split(self, *_: object) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no")


class _NamelessType(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no")


class NamelessError(Exception, metaclass=_NamelessType):
    pass


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def is_safe(text: str) -> bool:
    text.encode()
    return not any(
        unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in "\u202e\u2066\u200f" for char in text
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\n  b\tc"), "ValueError: a b c"),
        (RuntimeError(), "RuntimeError"),
        (ValueError(HOSTILE), r"ValueError: bad name \xff second line \x1b[31m\u202egnp.exe \u009b1m\x00"),
        (OSError(2, "no such file", "a\udce9.png"), r"FileNotFoundError: [Errno 2] no such file: 'a\udce9.png'"),
        (ValueError(Loud("loud")), "ValueError: loud"),
    ],
)
def test_an_error_is_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_an_error_in_a_codec_names_its_place_in_the_code() -> None:
    with pytest.raises(KeyError) as caught:
        {}["nope"]
    assert one_line(caught.value).startswith("KeyError: 'nope' (test_text.py:")


def test_what_is_meant_for_the_user_needs_no_place() -> None:
    with pytest.raises(StreamError) as caught:
        load_codec("jpeg").decode(b"")
    assert "(" not in one_line(caught.value)


@pytest.mark.parametrize("size", [400, 600, 100_000, 10_000_000])
def test_a_long_error_is_cut_visibly_and_keeps_its_place(size: int) -> None:
    line = one_line(raised(ValueError("x" * size)))
    assert line.startswith("ValueError: xxx")
    assert "(test_text.py:" in line
    assert len(line) <= LIMIT
    assert (f"… ({size} characters)" in line) == (size > 400)


def test_blanks_are_no_reason_to_cut() -> None:
    assert one_line(ValueError("a" + " " * 3000 + "b")) == "ValueError: a b"


KINDS = {
    "silent": SilentError,
    "ending": EndingError,
    "nameless": NamelessError,
    "long": type("T" * 9999, (Exception,), {}),
}


@pytest.mark.parametrize("which", list(KINDS))
def test_an_error_whose_own_methods_fail_is_named(which: str) -> None:
    kind = KINDS[which]
    lines = (one_line(raised(kind("y"))), message(kind("y")), printable(kind("y")))
    for line in lines:
        assert line
        assert len(line) <= LIMIT
        assert is_safe(line)


@pytest.mark.parametrize("kind", [SilentError, EndingError, NumericError])
def test_an_error_that_cannot_say_what_it_is_has_its_type(kind: type[Exception]) -> None:
    name = kind.__name__
    assert one_line(kind()) == f"{name}: [{name} whose text cannot be read: its __str__ fails]"


def test_what_an_error_says_to_the_user_comes_without_its_type() -> None:
    assert message(StreamError("the stream\nis \x1b[2Jdamaged")) == r"the stream is \x1b[2Jdamaged"
    assert message(StreamError()) == "StreamError"


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.integers(250, 600))
def test_any_error_is_a_safe_line_of_bounded_length(kind: str, text: str, place: str, limit: int) -> None:
    line = error_line(kind * 20, text * 40, place * 20, limit)
    assert is_safe(line)
    assert len(line) <= limit


@given(ANY_TEXT, st.none() | st.integers(40, 80))
def test_any_text_is_printable(text: str, limit: int | None) -> None:
    line = printable(text, limit)
    assert is_safe(line)
    assert limit is None or len(line) <= limit
    if text.isprintable() and len(text) <= 40:
        assert line == text


@pytest.mark.parametrize(
    "name", ["Straße 中文 é.png", "e\u0301.png", "👩‍👩‍👧.png", "a\u00a0b", "C:\\pictures\\a.png", "नमस्ते"]
)
def test_names_that_people_give_stay_as_they_are(name: str) -> None:
    assert printable(name) == name


@given(ANY_TEXT, ANY_TEXT)
def test_escaped_texts_stay_different(first: str, second: str) -> None:
    assert (escaped(first) == escaped(second)) == (first == second)
    assert is_safe(escaped(first))


@given(ANY_TEXT)
def test_a_cell_gives_its_text_back_and_is_no_formula(text: str) -> None:
    cell = cell_text(text)
    assert read_cell_text(cell) == text
    assert is_safe(cell)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("-5 dB", "'-5 dB"),
        ("@home", "'@home"),
        ("+1", "'+1"),
        ("'quoted'", "'quoted'"),
        ("'=1", "''=1"),
        ("a\\b", "a\\\\b"),
        ("a\nb\udcff", "a\\nb\\udcff"),
        ("ours, 10 steps", "ours, 10 steps"),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run_is_marked(text: str, cell: str) -> None:
    assert cell_text(text) == cell


def test_texts_are_made_safe_wherever_they_stand() -> None:
    assert safe_texts({"a\x1b": ["\udcff", ("\n", 1, None)]}) == {r"a\x1b": [r"\xff", (r"\n", 1, None)]}


def test_a_stream_that_lacks_a_character_writes_its_escape() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    write_anything(stream)
    stream.write("PSNR ↑ \udcff")
    stream.flush()
    assert raw.getvalue() == rb"PSNR \u2191 \udcff"
    write_anything(io.StringIO())
