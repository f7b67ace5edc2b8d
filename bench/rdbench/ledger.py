"""What has been measured: an SQLite file, one row per cell and label.

Every row is committed as soon as it is measured, so that a killed run loses at most the cells in flight, and carries
a checksum, so that a damaged file is found out rather than believed. Rows are counted up as they come in (their
*revision*); that count, and no clock, says which is newer.
"""

import contextlib
import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rdbench.cell import Cell, lost_metrics, with_metrics_of
from rdbench.errors import BenchError
from rdbench.keys import canonical_json
from rdbench.text import cell_text

_SCHEMA_VERSION = 2
_OTHER_VERSION = "'{}' was written by another version of rdbench: move it away, records.csv holds the same"
_CELLS = """
CREATE TABLE cells (
    key TEXT NOT NULL,
    label TEXT NOT NULL,
    body NOT NULL,
    checksum INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (key, label)
) WITHOUT ROWID;
"""
_STATE = """
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    export TEXT NOT NULL
);
CREATE TABLE owners (
    owner TEXT PRIMARY KEY,
    process TEXT NOT NULL,
    beat INTEGER NOT NULL
);
CREATE TABLE leases (
    task TEXT PRIMARY KEY,
    owner TEXT NOT NULL
);
"""
_BUSY_S = 60.0


class LedgerError(BenchError):
    """The ledger cannot be read or written. What it held before is untouched."""


class DamagedLedgerError(LedgerError):
    """The ledger file is corrupted or half-written."""


@dataclass(frozen=True)
class Row:
    """A cell with the number of the change that brought it in: the higher, the newer."""

    cell: Cell
    revision: int


@dataclass(frozen=True)
class Put:
    """What `Ledger.put` did.

    Attributes:
        written: number of rows written.
        kept: failures beside a row that was measured before: that row stayed as it was.
        lost: a line for each row whose earlier metrics went, since they were of another bitstream.
    """

    written: int
    kept: Sequence[Cell]
    lost: Sequence[str]


@dataclass(frozen=True)
class Export:
    """What the tables of a results folder were last written from.

    Attributes:
        revision: of the rows.
        plan: digest of the plan.
        records: SHA-256 of records.csv as this ledger wrote it; the last two, since a run may have been killed
            between noting one and writing it.
        shown: label → what tables last showed of it: the attributes of a `selection.Shown`.
    """

    revision: int = 0
    plan: str = ""
    records: tuple[str, ...] = ()
    shown: dict[str, Any] | None = None


class Ledger:
    """The measured cells of one results folder. Several processes may use it at the same time."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger at `path`. One of an earlier version is brought up to this one's.

        Raises:
            DamagedLedgerError: the file is not a whole ledger.
            LedgerError: it cannot be opened or created.
        """
        self.path = path
        try:
            self._db = connect(path)
            version = self._version()
            if version != _SCHEMA_VERSION:
                with self.changing():
                    self._upgrade(self._version())  # another process may have done it
            verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise translated(error, path) from error
        if verdict != "ok":
            raise DamagedLedgerError(f"the ledger '{path}' is damaged ({verdict.splitlines()[0]})")

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Make what is read and written within one change: other processes see all of it or nothing.

        Raises:
            LedgerError: the disk is full, the file is read-only, or another program holds it.
        """
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def put(self, cells: Iterable[Cell]) -> Put:
        """Write what was just measured, either all or, on an error, none.

        A failure never takes the place of a row that was measured. A row that was measured takes the place of the
        earlier one, and keeps those of its metrics that it lacks itself, where both are of one bitstream.

        Raises:
            LedgerError: the disk is full or the file is read-only.
        """
        kept, lost, written = [], [], 0
        with self.changing():
            revision = self.next_revision()
            for cell in cells:
                old = self.get(cell.identity)
                if old is not None and cell.error and not old.error:
                    kept.append(cell)
                    continue
                if old is not None and not old.error:
                    gone = lost_metrics(old, cell)
                    if gone:
                        lost.append(
                            f"{cell.place}: the bitstream is not the one measured before, so that one's "
                            f"{', '.join(gone)} went"
                        )
                    cell = with_metrics_of(cell, old)
                self.store(cell, revision)
                written += 1
        return Put(written, kept, lost)

    def get(self, identity: tuple[str, str]) -> Cell | None:
        """Return the row of a key and label, None where there is none.

        Raises:
            DamagedLedgerError: the row is not what was written.
        """
        with self._translated():
            found = self._db.execute("SELECT * FROM cells WHERE key = ? AND label = ?", _columns(identity)).fetchone()
        return None if found is None else self._row(*found).cell

    def newer(self, keys: Iterable[str], revision: int) -> list[Cell]:
        """Return the rows of some keys that came after a revision, the oldest first."""
        wanted = list(map(cell_text, keys))
        where = f"key IN ({', '.join('?' * len(wanted))}) AND revision > ?"
        with self._translated():
            found = self._db.execute(f"SELECT * FROM cells WHERE {where} ORDER BY revision", (*wanted, revision))  # noqa: S608
            return [self._row(*each).cell for each in found]

    def next_revision(self) -> int:
        """Count the revision up and return it; within `changing`."""
        self._db.execute("UPDATE state SET revision = revision + 1")
        return self.revision()

    def revision(self) -> int:
        """Return the number of the last change of the rows."""
        with self._translated():
            number: int = self._db.execute("SELECT revision FROM state").fetchone()[0]
        return number

    def store(self, cell: Cell, revision: int) -> None:
        """Write a row whatever was there; within `changing`."""
        key, label = _columns(cell.identity)
        body = _body(cell)
        row = (key, label, body, _checksum(key, label, body), revision)
        self._db.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)", row)

    def remove(self, identity: tuple[str, str]) -> None:
        """Take a row out; within `changing`."""
        self._db.execute("DELETE FROM cells WHERE key = ? AND label = ?", _columns(identity))

    def rows(self) -> list[Row]:
        """Return every row, the oldest first, those of one change in the order of their keys.

        Raises:
            DamagedLedgerError: a row is not what was written.
        """
        with self._translated():
            found = self._db.execute("SELECT * FROM cells ORDER BY revision, key, label").fetchall()
        return [self._row(*each) for each in found]

    def cells(self) -> Iterator[Cell]:
        """Return every cell, in the order of their keys and labels.

        Raises:
            DamagedLedgerError: a row is not what was written.
        """
        with self._translated():
            for row in self._db.execute("SELECT * FROM cells ORDER BY key, label"):
                yield self._row(*row).cell

    def export(self) -> Export:
        """Return what the tables were last written from."""
        with self._translated():
            text: str = self._db.execute("SELECT export FROM state").fetchone()[0]
        values = json.loads(text)
        return Export(**values | {"records": tuple(values["records"])}) if values else Export()

    def note_export(self, export: Export) -> None:
        """Note what the tables are written from; within `changing`."""
        self._db.execute("UPDATE state SET export = ?", (json.dumps(export.__dict__),))

    def __len__(self) -> int:
        with self._translated():
            count: int = self._db.execute("SELECT count(*) FROM cells").fetchone()[0]
        return count

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _row(self, key: str, label: str, body: str | bytes, checksum: int, revision: int) -> Row:
        if not isinstance(body, str | bytes) or _checksum(key, label, body) != checksum:
            raise DamagedLedgerError(f"the ledger '{self.path}' is damaged (row {key} fails its checksum)")
        try:
            return Row(_cell(body), revision)
        except TypeError as error:
            raise LedgerError(_OTHER_VERSION.format(self.path)) from error

    def _version(self) -> int:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _upgrade(self, version: int) -> None:
        if version == _SCHEMA_VERSION:
            return
        if version not in (0, 1):
            raise LedgerError(_OTHER_VERSION.format(self.path))
        rows: list[Row] = []
        if version == 1:
            rows = self._rows_of_version_1()
            self._db.execute("DROP TABLE cells")
            self._db.execute("DROP TABLE state")
        for statement in (_CELLS + _STATE).split(";\n"):
            self._db.execute(statement)
        self._db.execute("INSERT INTO state VALUES (1, ?, '{}')", (len(rows),))
        for row in rows:
            self.store(row.cell, row.revision)
        self._db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _rows_of_version_1(self) -> list[Row]:
        """Return the rows of a ledger that had one per key, and did not note in what order they came."""
        cells = []
        for key, body, checksum in self._db.execute("SELECT key, body, checksum FROM cells"):
            if not isinstance(body, str) or zlib.crc32(f"{key}\n{body}".encode()) != checksum:
                raise DamagedLedgerError(f"the ledger '{self.path}' is damaged (row {key} fails its checksum)")
            cells.append(Cell(**json.loads(body)))
        # Version 1 did not note the order. Only this upgrade goes by the time; records.csv, where it is there, says
        # what tables showed.
        cells.sort(key=lambda cell: cell.measured)
        newest = {cell.label: cell.fingerprint for cell in cells}
        return [
            Row(replace(cell, in_tables=cell.fingerprint == newest[cell.label]), i) for i, cell in enumerate(cells, 1)
        ]

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise translated(error, self.path) from error


def readable_rows(path: Path) -> list[Cell]:
    """Return those rows of a damaged ledger that are what was written, as far as the file can be read."""
    cells = []
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            for key, label, body, checksum in database.execute("SELECT key, label, body, checksum FROM cells"):
                if isinstance(body, str | bytes) and _checksum(key, label, body) == checksum:
                    cells.append(_cell(body))
    except (sqlite3.Error, TypeError, ValueError):
        pass  # what follows is lost
    return cells


def connect(path: Path) -> sqlite3.Connection:
    """Open an SQLite file for several processes at a time; every statement is a transaction, but for explicit ones."""
    database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + _BUSY_S
    while True:  # the change to this mode does not wait for others by itself
        try:
            database.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                database.close()
                raise
            time.sleep(0.01)
    database.execute("PRAGMA synchronous=NORMAL")
    return database


def _columns(identity: tuple[str, str]) -> tuple[str, str]:
    """Return key and label as text that SQLite takes."""
    return cell_text(identity[0]), cell_text(identity[1])


def _body(cell: Cell) -> str | bytes:
    """Return a cell as JSON; as bytes where it holds lone surrogates, which SQLite does not take as text."""
    text = canonical_json(cell.__dict__)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _cell(body: str | bytes) -> Cell:
    text = body if isinstance(body, str) else body.decode("utf-8", "surrogatepass")
    return Cell(**json.loads(text))


def _checksum(key: str, label: str, body: str | bytes) -> int:
    data = body.encode() if isinstance(body, str) else body
    return zlib.crc32(f"{key}\n{label}\n".encode() + data)


def translated(error: sqlite3.DatabaseError, path: Path) -> LedgerError:
    """Say in the user's terms what SQLite reports."""
    text = str(error)
    if "disk is full" in text or "disk I/O" in text:
        return LedgerError(f"cannot write '{path}': the disk is full; free some space and run again")
    if "readonly" in text or "unable to open" in text:
        return LedgerError(f"cannot write '{path}': make the folder writable, or choose another with --out")
    if "locked" in text:
        return LedgerError(f"'{path}' is locked by another program: wait for it, or choose another --out")
    return DamagedLedgerError(f"the ledger '{path}' is damaged ({text})")
