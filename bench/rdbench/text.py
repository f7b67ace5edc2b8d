"""Text that is safe to show and to store, whatever a codec, a file name or a label holds.

Errors, names and labels come from codecs and from file systems. They may hold bytes that are not UTF-8 (Python's lone
surrogates), terminal commands, marks that turn the direction of writing, line breaks, or a hundred thousand
characters. Every such text goes through one of these functions before it reaches a terminal, a table or a page:

- `one_line` for an exception, with its type and place;
- `message` for what an exception says to the user;
- `printable` for a name, a label or any other text on a line;
- `escaped` where different texts must stay different;
- `cell_text` for a cell of a CSV table, which `read_cell_text` reads back.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from rdbench.errors import BenchError

LIMIT = 500
"""Most characters of a line that is shown or stored."""
_NAME_LIMIT = 100
"""Most characters of an exception's type and of a source file's name."""
_MOST_BLANKS = 20
"""How many characters of a message are looked at for each that is shown: a message may have millions."""

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters, ESC among them
    "\xad\u200b\u2060-\u2065\ufeff"  # invisible
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # they change the direction of writing
    "\u2028\u2029"  # line and paragraph separator
    "\ud800-\udfff"  # surrogates: no encoding holds them
    "\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f"  # not characters, or invisible annotations
    "]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPE = re.compile(r"\\(?:([\\nrt])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_LONG = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_FORMULA = re.compile("'*[=+@-]")
"""How a cell begins that a spreadsheet runs as a formula; marks of a text before it are counted in."""


def printable(value: object, limit: int | None = LIMIT) -> str:
    r"""Return a text as one line that every terminal, file and page can hold.

    Control characters, marks of the writing direction and invisible characters become escapes (``\x1b``, ``\n``,
    ``\u202e``), bytes that are not UTF-8 become ``\xff``. A longer text is cut, and the cut says how much is missing.

    Args:
        value: a text, or anything that has one; what has none is named instead. Nothing is raised.
        limit: most characters; None cuts nothing.
    """
    return _cut(_text(value), limit)


def message(error: BaseException, limit: int | None = LIMIT) -> str:
    """Return what an exception says, on one line without its type: for errors whose message is for the user."""
    return _cut(*_joined(_text(error), limit)) or _cut(_type_name(error), _NAME_LIMIT)


def one_line(error: BaseException, limit: int = LIMIT) -> str:
    """Return an exception as "Type: message" on one line; with its place in the code, unless it is for the user.

    At most `limit` characters: a longer message is cut, the place stays. Nothing is raised, whatever the exception's
    own methods do.
    """
    return error_line(_type_name(error), _text(error), "" if _is_for_the_user(error) else _place(error), limit)


def error_line(kind: str, text: str, place: str = "", limit: int = LIMIT) -> str:
    """Return an error as `one_line` writes it, from its parts: type, message, and "file.py:12" or nothing."""
    start = _cut(kind, _NAME_LIMIT)
    end = f" ({_cut(place, _NAME_LIMIT)})" if place else ""
    said = _cut(*_joined(text, max(0, limit - len(start) - len(": ") - len(end))))
    return f"{start}: {said}{end}" if said else start + end


def escaped(text: str) -> str:
    r"""Return a text with the escapes of `printable`, and ``\\`` for a backslash: different texts stay different."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text.replace("\\", "\\\\"))


def cell_text(text: str) -> str:
    r"""Return a text as a cell of a CSV table; `read_cell_text` gives it back.

    Control characters, line separators and surrogates become escapes (``\x1b``, ``\n``, ``\udcff``), a backslash is
    doubled. A text that begins with ``=``, ``+``, ``-`` or ``@`` (or with these after any ``'``) gets one ``'`` before
    it, since spreadsheets would run it as a formula.
    """
    safe = _UNSAFE.sub(lambda found: _unicode_escape(found[0], short=0x100), text.replace("\\", "\\\\"))
    return f"'{safe}" if _FORMULA.match(safe) else safe


def read_cell_text(cell: str) -> str:
    """Return the text that `cell_text` made a cell of. Backslashes that begin no escape are kept."""
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _ESCAPE.sub(_unescape, text)


def counted(count: int, what: str) -> str:
    """Return how many there are of something: "1 row", "3 rows"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def safe_texts(value: Any) -> Any:
    """Return nested lists, tuples and mappings with every text in them as `printable` makes it, nothing cut."""
    if isinstance(value, str):
        return printable(value, None)
    if isinstance(value, dict):
        return {safe_texts(key): safe_texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [safe_texts(each) for each in value]
    if isinstance(value, tuple):
        return tuple(safe_texts(each) for each in value)
    return value


def write_anything(*streams: TextIO) -> None:
    r"""Let streams write characters that their encoding lacks as escapes (``\u2191``), in place of an error."""
    for stream in streams or (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stream that a test or a notebook put there has none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _cut(text: str, limit: int | None, length: int | None = None) -> str:
    """Escape a text and cut it to `limit` characters; `length` is its whole length where only its start is given."""
    if limit is None or (len(text) <= limit and length is None):
        whole = _UNSAFE.sub(lambda found: _escape(found[0]), text)
        if limit is None or len(whole) <= limit:
            return whole
    length = len(text) if length is None else length
    pieces = [_escape(char) if _UNSAFE.match(char) else char for char in text[:limit]]
    mark = f" … ({length} characters)"
    room = max(0, limit - len(mark))
    used = kept = 0
    for piece in pieces:  # never through an escape
        if used + len(piece) > room:
            break
        used += len(piece)
        kept += 1
    return "".join(pieces[:kept]) + mark[: limit - used]


def _joined(text: str, limit: int | None) -> tuple[str, int | None, int | None]:
    """Return what `_cut` takes, for a text with single spaces in place of its line breaks and runs of blanks."""
    most = None if limit is None else _MOST_BLANKS * (limit + 1)
    text = text.lstrip()
    if most is None or len(text) <= most:
        return " ".join(text.split()), limit, None
    return " ".join(text[:most].split()), limit, len(text)


def _text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    return _safely(lambda: str(value), f"[{_type_name(value)} whose text cannot be read: its __str__ fails]")


def _type_name(value: object) -> str:
    return _safely(lambda: type(value).__name__, "object")


def _safely(get: Callable[[], object], otherwise: str) -> str:
    """Return the text that `get` gives, as an exact str; `otherwise` where it fails or gives anything else."""
    try:
        text = get()
        return str.__str__(text) if isinstance(text, str) else otherwise
    except BaseException:  # a codec's own code runs here: not even SystemExit may get through
        return otherwise


def _is_for_the_user(error: BaseException) -> bool:
    # Nothing is a CodecError before rdcodecs is imported, which takes longer than most of what needs this module.
    codec = sys.modules.get("rdcodecs.codec")
    return issubclass(type(error), BenchError if codec is None else (BenchError, codec.CodecError))


def _place(error: BaseException) -> str:
    """Return where an exception was raised, "file.py:12", or nothing."""
    step = error.__traceback__
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    return f"{Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno}"


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return _unicode_escape(char)


def _unicode_escape(char: str, short: int = 0x80) -> str:
    """Return the escape of a character, of two digits where its code is below `short`."""
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code < short:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescape(found: "re.Match[str]") -> str:
    short, *numbers = found.groups()
    if short:
        return _LONG[short]
    return chr(int(next(number for number in numbers if number), 16))
