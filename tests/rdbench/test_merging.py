"""Ledger and records.csv are one truth: what either holds is known, and nothing goes without a word."""

import csv
import dataclasses
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from rich.console import Console

import faulty_codecs
from rdbench import outputs
from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.experiment import Experiment
from rdbench.layout import LEDGER_NAME
from rdbench.ledger import Ledger
from rdbench.locking import SignalsHeldBack
from rdbench.record_writer import read_cells, records_bytes
from rdbench.records import load_records, summary
from rdbench.run import RunResult, run

MakeExperiment = Callable[..., Experiment]
Run = Callable[..., RunResult]
QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"
BREAKABLE = """
from pathlib import Path
from faulty_codecs import Quantizer
class Breakable(Quantizer):
    def encode(self, image, rate):
        if Path({switch!r}).exists():
            raise RuntimeError("broken now")
        return super().encode(image, rate)
"""


@pytest.fixture
def measure(experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console) -> Run:
    """Return a function that runs a small experiment in one folder."""

    def again(*names: str, force: bool = False, out: str = "out", **changes: Any) -> RunResult:
        return run(experiment(*names, **changes), tmp_path / out, executor=thread, console=console, force=force)

    return again


def said(console: Console) -> str:
    """Return what was printed since this was asked last."""
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    console.file.truncate(0)
    console.file.seek(0)
    return text


def cells_of(out: Path) -> dict[tuple[str, str], Cell]:
    with Ledger(out / LEDGER_NAME) as ledger:
        return {cell.identity: cell for cell in ledger.cells()}


def file_cells(out: Path) -> dict[tuple[str, str], Cell]:
    return {cell.identity: cell for cell in read_cells(out / "records.csv", {})}


def write(out: Path, cells: list[Cell]) -> None:
    (out / "records.csv").write_bytes(records_bytes("small", cells, ["psnr"]))


def entry(**changes: Any) -> dict[str, Any]:
    return {"codec": QUANTIZER, "label": "Q", "rates": [64, 32]} | changes


def test_the_file_is_the_ledger_and_brings_it_back(measure: Run, tmp_path: Path) -> None:
    measure(codecs=[entry(decode={"steps": [1, 2, 3]}), entry(label="R")])
    out = tmp_path / "out"
    before = cells_of(out)
    assert len(before) == 3 * 2 * 3 + 3 * 2
    assert file_cells(out) == before
    (out / LEDGER_NAME).unlink()
    measure(codecs=[entry(label="other", options={"level": 1})])
    after = cells_of(out)
    assert before.items() <= after.items()
    assert file_cells(out) == after


def test_rows_of_another_machine_are_known(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    measure(codecs=[entry(rates=[16])], out="elsewhere")
    write(out, [*file_cells(out).values(), *file_cells(tmp_path / "elsewhere").values()])
    said(console)
    result = measure(codecs=[entry(rates=[64, 32, 16])])
    assert (result.measured, result.known) == (0, 9)
    assert "was changed since it was written: 3 rows that the ledger did not have: added" in said(console)
    assert len(file_cells(out)) == 9


def test_whole_numbers_read_back_as_the_same(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    measure(codecs=[{"codec": QUANTIZER, "label": "Q"}])  # at the codec's own rates, which are written without a point
    cells = list(file_cells(out).values())
    write(out, [*cells, dataclasses.replace(cells[0], key="f" * 24, label="other")])
    said(console)
    measure(codecs=[{"codec": QUANTIZER, "label": "Q"}])
    text = said(console)
    assert "1 row that the ledger did not have: added" in text
    assert "other values" not in text
    assert all(type(cell.rate) is float for cell in cells_of(out).values())


@pytest.mark.parametrize("with_ledger", [True, False])
def test_a_file_that_was_cut_off_is_noticed(measure: Run, tmp_path: Path, console: Console, with_ledger: bool) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    before = (out / "records.csv").read_bytes()
    lines = before.splitlines(keepends=True)
    (out / "records.csv").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    if not with_ledger:
        (out / LEDGER_NAME).unlink()
    said(console)
    result = measure(codecs=[entry()])
    text = said(console)
    assert "ends in the middle of a row: line 5 is left out" in text
    if with_ledger:
        assert "3 rows missing: written again" in text
        assert (result.measured, (out / "records.csv").read_bytes()) == (0, before)
    else:
        assert "is not the file that provenance.json names: it was edited or cut off" in text
        assert result.measured == 3


def test_whole_rows_that_went_are_noticed_without_a_ledger(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    (out / LEDGER_NAME).unlink()
    (out / "records.csv").write_bytes(b"".join((out / "records.csv").read_bytes().splitlines(keepends=True)[:-2]))
    said(console)
    assert measure(codecs=[entry()]).measured == 2
    assert "is not the file that provenance.json names" in said(console)


def test_values_changed_by_hand_are_said_and_the_ledgers_kept(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    before = (out / "records.csv").read_bytes()
    cells = list(file_cells(out).values())
    write(out, [dataclasses.replace(cells[0], metrics={"psnr": 99.5}), *cells[1:]])
    said(console)
    measure(codecs=[entry()])
    psnr = cells[0].metrics["psnr"]
    assert f"other values, the ledger's are kept: {cells[0].place}: psnr {psnr:.6g} is kept, not 99.5" in said(console)
    assert (out / "records.csv").read_bytes() == before


def test_a_file_that_is_no_table_beside_a_ledger_is_moved_aside(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    before = (out / "records.csv").read_bytes()
    (out / "records.csv").write_bytes(b"\x00\xff" * 100)
    said(console)
    assert measure(codecs=[entry()]).known == 6
    assert "moved to 'records.csv.damaged-" in said(console)
    assert [path.read_bytes() for path in out.glob("records.csv.damaged-*")] == [b"\x00\xff" * 100]
    assert (out / "records.csv").read_bytes() == before


@pytest.mark.parametrize("with_ledger", [True, False])
def test_rows_that_cannot_be_read_are_kept_aside(
    measure: Run, tmp_path: Path, console: Console, with_ledger: bool
) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    edited = (out / "records.csv").read_bytes().replace(b",yes,2\r\n", b",TRUE,2\r\n", 2)
    (out / "records.csv").write_bytes(edited)
    if not with_ledger:
        (out / LEDGER_NAME).unlink()
    said(console)
    assert measure(codecs=[entry()]).known == (6 if with_ledger else 4)
    (kept,) = out.glob("records.csv.damaged-*")
    assert f"the file as it was is kept as '{kept.name}'" in said(console)
    assert kept.read_bytes() == edited


@pytest.mark.parametrize("change", [(b",yes,2\r\n", b",TRUE,2\r\n"), (b",2\r\n", b",3\r\n")])
def test_a_file_of_which_nothing_can_be_read_is_not_written_over(
    measure: Run, tmp_path: Path, change: tuple[bytes, bytes]
) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    (out / LEDGER_NAME).unlink()
    edited = (out / "records.csv").read_bytes().replace(*change)
    (out / "records.csv").write_bytes(edited)
    with pytest.raises(BenchError, match=r"is not a records\.csv of rdbench"):
        measure(codecs=[entry()])
    assert (out / "records.csv").read_bytes() == edited


def test_a_damaged_ledger_gives_back_the_rows_that_are_whole(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()])
    (out / "records.csv").unlink()
    with sqlite3.connect(out / LEDGER_NAME) as database:
        database.execute("UPDATE cells SET body = body || ' ' WHERE key = (SELECT min(key) FROM cells)")
    result = measure(codecs=[entry()])
    assert "its 5 readable rows" in said(console)
    assert (result.measured, result.known) == (1, 5)


def test_a_ledger_of_the_first_schema_is_brought_up_to_date(measure: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry(), entry(label="R")])
    rows = [cell for cell in cells_of(out).values() if cell.label == "Q"]
    # As the first version had it: one row per key, and a file with all options in one column.
    (out / LEDGER_NAME).unlink()
    with sqlite3.connect(out / LEDGER_NAME) as old:
        old.execute(
            "CREATE TABLE cells (key TEXT PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID"
        )
        old.execute("CREATE TABLE state (one INTEGER PRIMARY KEY, revision INTEGER, exported TEXT)")
        old.execute("INSERT INTO state VALUES (1, 3, '')")
        for cell in rows:
            body = json.dumps({k: v for k, v in cell.__dict__.items() if k != "in_tables"})
            import zlib

            old.execute(
                "INSERT INTO cells VALUES (?, ?, ?)", (cell.key, body, zlib.crc32(f"{cell.key}\n{body}".encode()))
            )
        old.execute("PRAGMA user_version = 1")
    columns = (
        "experiment dataset image width height codec label fingerprint rate steps options bytes bpp encode_s decode_s"
    )
    with (out / "records.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    with (out / "records.csv").open("w", newline="", encoding="utf-8") as file:
        names = [*columns.split(), "encode_s", "decode_s", "psnr", "error", "image_hash", "key"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"psnr": f"{float(row['psnr']):.6f}"} for row in table)
    result = measure(codecs=[entry(), entry(label="R")])
    assert (result.measured, result.known) == (0, 6)
    after = cells_of(out)
    assert {cell.identity: cell for cell in rows}.items() <= after.items()
    exact = {cell.key: cell.metrics for cell in rows}
    assert {cell.key: cell.metrics for cell in after.values() if cell.label == "R"} == exact


def test_a_failure_never_takes_the_place_of_what_was_measured(measure: Run, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    switch = tmp_path / "broken"
    (tmp_path / "mine.py").write_text(BREAKABLE.format(switch=str(switch)))
    mine = entry(codec=f"{tmp_path / 'mine.py'}:Breakable")
    measure(codecs=[mine])
    before = cells_of(out)
    switch.touch()
    said(console)
    for changes in ({"force": True}, {"metrics": ["psnr", "flip"]}):
        result = measure(codecs=[mine], **changes)
        assert (result.measured, result.failed) == (0, 6)
        text = said(console)
        assert "failed: Q at 64 on img1.png: RuntimeError: broken now" in text
        assert "6 failures are of cells that had been measured before: those rows stay as they were" in text
        assert cells_of(out) == before


def test_a_metric_that_is_added_under_a_time_limit_costs_nothing(
    experiment: MakeExperiment, tmp_path: Path, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment(codecs=[entry()]), out, workers=1, console=console)
    before = cells_of(out)
    late = experiment(codecs=[entry()], metrics=["psnr", "flip"], timeout=0.0001)
    result = run(late, out, workers=1, console=console)
    assert result.failed == 6
    assert cells_of(out) == before


def test_measuring_again_keeps_the_metrics_of_the_same_stream(measure: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry()], metrics=["psnr", "flip"])
    before = cells_of(out)
    measure(codecs=[entry()], metrics=["psnr"], force=True)
    for identity, cell in cells_of(out).items():
        assert cell.metrics == before[identity].metrics
        assert cell.metric_fingerprints == before[identity].metric_fingerprints


def test_tables_cover_the_planned_images_and_rates_only(
    measure: Run, tmp_path: Path, images: Path, console: Console
) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry(), entry(label="R", options={"level": 1})])
    whole = (out / "summary.csv").read_text()
    said(console)
    measure(codecs=[entry(rates=[64])], limit=1)
    table = summary(load_records(out))
    assert list(table["n_images"]) == [1, 1, 1]
    assert list(table["label"]) == ["Q", "R", "R"], "R as it was last shown, on the planned image"
    text = said(console)
    assert (
        "also holds 9 rows that no table or plot shows: 1 of other rates or decode options, 8 of 2 other images" in text
    )
    (images / "img2.png").rename(tmp_path / "img2.png")
    measure(codecs=[entry()])
    assert list(summary(load_records(out))["n_images"]) == [2] * 4
    (tmp_path / "img2.png").rename(images / "img2.png")
    result = measure(codecs=[entry()])
    assert (result.measured, result.known) == (0, 6)
    assert (out / "summary.csv").read_text() == whole, "R too is back on all images"


def test_folders_of_one_name_are_told_apart_by_their_images(
    experiment: MakeExperiment, tmp_path: Path, images: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment(codecs=[entry()]), out, executor=thread, console=console)
    other = tmp_path / "b" / "images"
    other.mkdir(parents=True)
    for path in images.iterdir():
        PILImage.open(path).rotate(180).save(other / path.name)
    result = run(experiment(codecs=[entry()], dataset=f"folder:{other}"), out, executor=thread, console=console)
    assert result.measured == 6
    shown = load_records(out)
    assert len(shown) == 6
    assert "6 of 3 other images" in said(console)
    assert len(cells_of(out)) == 12


def test_a_configuration_that_is_shown_stays_whatever_the_clock_said(measure: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    measure(codecs=[entry(), entry(label="R")])
    measure(codecs=[entry(options={"level": 1})])
    now = {cell.fingerprint for cell in cells_of(out).values() if cell.label == "Q" and cell.in_tables}
    with Ledger(out / LEDGER_NAME) as ledger, ledger.changing():
        for row in ledger.rows():
            year = "1999" if row.cell.fingerprint in now else "2040"
            ledger.store(dataclasses.replace(row.cell, measured=f"{year}-01-01T00:00:00+00:00"), row.revision)
    for _ in range(2):
        measure(codecs=[entry(label="R")])
        assert set(load_records(out).query("label == 'Q'")["fingerprint"]) == now
        (out / LEDGER_NAME).unlink()  # the second time by the file alone


def test_an_image_that_is_there_twice_counts_once(measure: Run, tmp_path: Path, images: Path, console: Console) -> None:
    (images / "z.png").write_bytes((images / "img1.png").read_bytes())
    assert measure(codecs=[entry()]).measured == 6
    assert "left out, since the same image is there under another name: z.png is img1.png" in said(console)


def test_a_summary_says_where_rates_average_different_images(measure: Run, tmp_path: Path) -> None:
    measure("Raising", "Quantizer")
    table = summary(load_records(tmp_path / "out")).set_index(["label", "rate"])
    assert table.loc[("quantizer", 16.0), "note"] == ""
    assert table.loc[("raising", 64.0), "note"] == ""
    assert table.loc[("raising", 16.0), "note"] == "0 of 3 images: 3 failed"


def test_rows_that_come_while_tables_are_written_are_not_taken_for_written(
    measure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_derived = outputs.write_derived

    def meanwhile(*arguments: Any, **options: Any) -> None:
        with Ledger(out / LEDGER_NAME) as other:
            cell = next(iter(other.cells()))
            other.put([dataclasses.replace(cell, key="n" * 24, rate=16.0)])
        write_derived(*arguments, **options)

    monkeypatch.setattr(outputs, "write_derived", meanwhile)
    measure(codecs=[entry()])
    monkeypatch.undo()
    assert len(file_cells(out)) == 6
    measure(codecs=[entry()])
    assert len(file_cells(out)) == 7


def test_signals_wait_until_the_tables_are_written(
    measure: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    from rdbench import outputs

    write_derived = outputs.write_derived

    def interrupted(*arguments: Any, **options: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        write_derived(*arguments, **options)

    monkeypatch.setattr(outputs, "write_derived", interrupted)
    result = measure(codecs=[entry()])
    assert result.interrupted
    assert (tmp_path / "out" / "summary.csv").is_file()
    with SignalsHeldBack() as signals:
        pass
    assert not signals.came
