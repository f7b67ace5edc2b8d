"""What has been measured: an SQLite file, one row a cell.

Every row is committed as soon as it is measured, so that a killed run loses at most the cells in flight, and carries
a checksum, so that a damaged file is found out rather than believed.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdbench.errors import BenchError
from rdbench.keys import canonical_json

_SCHEMA_VERSION = 1
_OTHER_VERSION = "'{}' was written by another version of rdbench: move it away, records.csv holds the same"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    exported TEXT NOT NULL
);
INSERT OR IGNORE INTO state VALUES (1, 0, '');
"""


class LedgerError(BenchError):
    """The ledger cannot be read or written. What it held before is untouched."""


class DamagedLedgerError(LedgerError):
    """The ledger file is corrupted or half-written."""


@dataclass(frozen=True)
class Cell:
    """One measured cell, or one that failed.

    Attributes:
        key: see `keys.cell_key`.
        encode_key: see `keys.encode_key`; the same for cells decoded from one bitstream.
        label: the codec's label when it was measured.
        codec: the codec's name.
        fingerprint: digest of the codec's fingerprint.
        image: the image's name in its dataset.
        image_hash: digest of the image's file.
        dataset: the dataset's name.
        rate: the codec's own rate parameter.
        codec_options: options the codec was made with.
        decode_options: options of the decode, complete.
        measured: ISO 8601 time, UTC.
        width: pixels; None where the image could not be read.
        height: pixels; None where the image could not be read.
        bytes: length of the bitstream.
        stream: SHA-256 of the bitstream.
        encode_s: wall-clock seconds.
        decode_s: wall-clock seconds.
        metrics: metric name → value.
        metric_fingerprints: metric name → digest of the metric's fingerprint.
        error: empty, or one line saying what failed.
    """

    key: str
    encode_key: str
    label: str
    codec: str
    fingerprint: str
    image: str
    image_hash: str
    dataset: str
    rate: float
    codec_options: dict[str, Any]
    decode_options: dict[str, Any]
    measured: str
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    stream: str = ""
    encode_s: float | None = None
    decode_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    metric_fingerprints: dict[str, str] = field(default_factory=dict)
    error: str = ""


class Ledger:
    """The measured cells of one results folder. Several processes may use it at the same time."""

    def __init__(self, path: Path) -> None:
        """Open or create the ledger at `path`.

        Raises:
            DamagedLedgerError: the file is not a whole ledger.
            LedgerError: it cannot be opened or created.
        """
        self.path = path
        try:
            self._db = sqlite3.connect(path, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _SCHEMA_VERSION):
                raise LedgerError(_OTHER_VERSION.format(path))
            if version == 0:
                self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_SCHEMA_VERSION};COMMIT;")
            verdict = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise _translated(error, path) from error
        if verdict != "ok":
            raise DamagedLedgerError(f"the ledger '{path}' is damaged ({verdict.splitlines()[0]})")

    def put(self, cells: Iterable[Cell]) -> None:
        """Write cells, replacing those with the same key; either all or, on an error, none.

        Raises:
            LedgerError: the disk is full or the file is read-only.
        """
        rows = []
        for cell in cells:
            body = canonical_json(cell.__dict__)
            rows.append((cell.key, body, _checksum(cell.key, body)))
        with self._translated(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", rows)
            self._db.execute("UPDATE state SET revision = revision + 1")

    def is_exported(self, plan: str) -> bool:
        """Whether the tables of a plan (its digest) were written from exactly these rows."""
        with self._translated():
            revision, exported = self._db.execute("SELECT revision, exported FROM state").fetchone()
        return bool(exported == f"{revision} {plan}")

    def set_exported(self, plan: str) -> None:
        """Note that the tables of a plan (its digest) have been written."""
        with self._translated(), self._db:
            self._db.execute("UPDATE state SET exported = revision || ' ' || ?", (plan,))

    def cells(self) -> Iterator[Cell]:
        """Return every cell, in the order of their keys.

        Raises:
            DamagedLedgerError: a row is not what was written.
        """
        with self._translated():
            for key, body, checksum in self._db.execute("SELECT key, body, checksum FROM cells"):
                if not isinstance(body, str) or _checksum(key, body) != checksum:
                    raise DamagedLedgerError(f"the ledger '{self.path}' is damaged (row {key} fails its checksum)")
                try:
                    yield Cell(**json.loads(body))
                except TypeError as error:
                    raise LedgerError(_OTHER_VERSION.format(self.path)) from error

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

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _translated(error, self.path) from error


def _checksum(key: str, body: str) -> int:
    return zlib.crc32(f"{key}\n{body}".encode())


def _translated(error: sqlite3.DatabaseError, path: Path) -> LedgerError:
    """Say in the user's terms what SQLite reports."""
    text = str(error)
    if "disk is full" in text or "disk I/O" in text:
        return LedgerError(f"cannot write '{path}': the disk is full; free some space and run again")
    if "readonly" in text or "unable to open" in text:
        return LedgerError(f"cannot write '{path}': make the folder writable, or choose another with --out")
    if "locked" in text:
        return LedgerError(f"'{path}' is locked by another program: wait for it, or choose another --out")
    return DamagedLedgerError(f"the ledger '{path}' is damaged ({text})")
