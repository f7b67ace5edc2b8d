import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rdbench.cell import Cell
from rdbench.ledger import DamagedLedgerError, Ledger, LedgerError


def make_cell(key: str = "a", **changes: object) -> Cell:
    cell = Cell(
        key=key, encode_key="e" + key, label="L", codec="jpeg", fingerprint="f", image="i.png", image_hash="h",
        dataset="d", rate=10.0,
        codec_options={"preset": "x"}, decode_options={"steps": 5}, measured="2026-01-01T00:00:00+00:00",
        width=4, height=3, bytes=7, encode_s=0.5, decode_s=0.25, metrics={"psnr": 30.25},
        metric_fingerprints={"psnr": "p"},
    )  # fmt: skip
    return replace(cell, **changes)


def test_cells_come_back_as_they_were_written(tmp_path: Path) -> None:
    cells = [
        make_cell("a"),
        make_cell("b", metrics={"psnr": float("inf")}),
        make_cell("c", error="StreamError: ü", bytes=None),
    ]
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.put(cells)
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert list(ledger.cells()) == cells
        assert len(ledger) == 3


def test_a_cell_with_a_known_key_replaces_the_old_one(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.put([make_cell(bytes=1)])
        ledger.put([make_cell(bytes=2)])
        assert [cell.bytes for cell in ledger.cells()] == [2]


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_ledger_is_found_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "l.sqlite"
    path.write_bytes(content)
    with pytest.raises(DamagedLedgerError, match="is damaged"):
        Ledger(path)


def test_a_half_written_file_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.put([make_cell(str(i), error="x" * 500) for i in range(200)])
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DamagedLedgerError), Ledger(path) as ledger:
        list(ledger.cells())


def test_a_changed_row_fails_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.put([make_cell()])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE cells SET body = replace(body, '30.25', '31.25')")
    with Ledger(path) as ledger, pytest.raises(DamagedLedgerError, match="row a fails its checksum"):
        list(ledger.cells())


def test_a_ledger_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(LedgerError, match="another version of rdbench"):
        Ledger(path)


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.put([make_cell("a")])
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count={pages}")  # SQLite then fails as it does on a full disk
        with pytest.raises(LedgerError, match=r"the disk is full; free some space and run again"):
            ledger.put([make_cell(str(i), error="x" * 2000) for i in range(50)])
        assert [cell.key for cell in ledger.cells()] == ["a"]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"make the folder writable, or choose another with --out"):
        Ledger(tmp_path / "missing" / "l.sqlite")


def _write(path: Path, start: int) -> None:
    with Ledger(path) as ledger:
        for i in range(start, start + 50):
            ledger.put([make_cell(str(i))])


def test_two_processes_may_write_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(tmp_path / "l.sqlite", start)) for start in (0, 1000)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert len(ledger) == 100


def test_kill_minus_nine_loses_nothing_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    code = (
        "import sys, test_ledger as t; from pathlib import Path; ledger = t.Ledger(Path(sys.argv[1]))\n"
        "i = 0\n"
        "while True:\n"
        "    ledger.put([t.make_cell(str(i))]); print(i, flush=True); i += 1"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 20:
                break
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    with Ledger(path) as ledger:
        keys = {int(cell.key) for cell in ledger.cells()}
    assert keys >= set(range(21))
    assert keys == set(range(len(keys)))
