"""Tables as CSV files, for spreadsheets and for other programs."""

from collections.abc import Collection
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rdbench.files import atomic_text
from rdbench.text import cell_text

if TYPE_CHECKING:
    import pandas as pd

# Six significant digits: more than any of these figures is good for, and a diff stays readable.
_DIGITS = "%.6g"


def table_text(frame: "pd.DataFrame", figures: Collection[str] = ()) -> str:
    """Return a table as CSV, its texts as `cell_text` makes them and its numbers with six significant digits.

    Args:
        frame: the table.
        figures: columns of text such as "-15.8 %", which spreadsheets may well take for numbers; left as they are.
    """
    texts = {
        name: [cell_text(cell) if isinstance(cell, str) else cell for cell in frame[name]]
        for name in frame.columns
        if frame[name].dtype.kind not in "biuf" and name not in figures
    }
    buffer = StringIO()
    frame.assign(**texts).rename(columns=cell_text).to_csv(buffer, index=False, float_format=_DIGITS)
    return buffer.getvalue()


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Write a table as a CSV file, as a whole or not at all."""
    with atomic_text(path) as file:
        file.write(table_text(frame))
