import csv
import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterable
from concurrent.futures import Executor, Future
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as PILImage
from rich.console import Console

import faulty_codecs
from rdbench.cell import Cell
from rdbench.datasets import Item
from rdbench.datasets.folder import FolderDataset
from rdbench.errors import BenchError
from rdbench.experiment import Experiment
from rdbench.layout import LEDGER_NAME
from rdbench.ledger import Ledger, Put
from rdbench.metrics.psnr import PSNR
from rdbench.run import run

MakeExperiment = Callable[..., Experiment]
CODECS = Path(faulty_codecs.__file__)


def all_rows(out: Path) -> list[dict[str, str]]:
    with (out / "records.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(out: Path) -> list[dict[str, str]]:
    """Return the rows that tables show."""
    return [row for row in all_rows(out) if row["in_tables"] == "yes"]


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_records_hold_what_the_codec_really_did(
    experiment: MakeExperiment, tmp_path: Path, images: Path, thread: Executor, console: Console
) -> None:
    result = run(experiment(), tmp_path / "out", executor=thread, console=console)
    assert (result.measured, result.failed, result.known) == (12, 0, 0)
    table = rows(tmp_path / "out")
    assert len(table) == 12
    codec = faulty_codecs.Quantizer()
    for row in table:
        image = np.asarray(PILImage.open(images / row["image"]))
        data = codec.encode(image, float(row["rate"]))
        error = np.mean((codec.decode(data).astype(float) - image) ** 2)
        assert int(row["bytes"]) == len(data)
        assert float(row["bpp"]) == pytest.approx(8 * len(data) / (image.shape[0] * image.shape[1]), abs=1e-6)
        assert float(row["psnr"]) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)
        assert (int(row["height"]), int(row["width"])) == image.shape[:2]
        assert float(row["encode_s"]) > 0
        assert float(row["decode_s"]) > 0


def test_the_records_are_sorted_and_have_the_columns_of_the_schema(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    run(experiment(), tmp_path / "out", executor=thread, console=console)
    table = rows(tmp_path / "out")
    assert list(table[0]) == [
        "experiment",
        "dataset",
        "image",
        "width",
        "height",
        "codec",
        "label",
        "fingerprint",
        "rate",
        "steps",
        "options",
        "decode_options",
        "bytes",
        "bpp",
        "encode_s",
        "decode_s",
        "psnr",
        "error",
        "image_hash",
        "key",
        "encode_key",
        "stream",
        "measured",
        "metric_fingerprints",
        "in_tables",
        "schema",
    ]
    order = [(row["label"], row["image"], float(row["rate"])) for row in table]
    assert order == sorted(order)


def test_a_second_run_measures_nothing_and_rewrites_nothing(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    log = tmp_path / "log"
    logged = experiment(codecs=[{"codec": f"{CODECS}:Quantizer", "options": {"log": str(log)}}])
    run(logged, out, executor=thread, console=console)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and "ledger" not in path.name}
    log.unlink()
    result = run(logged, out, executor=thread, console=console)
    assert (result.measured, result.known) == (0, 12)
    assert not log.exists()
    assert {path: path.read_bytes() for path in before} == before


def test_only_what_is_missing_is_measured(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    entry = {"codec": f"{CODECS}:Quantizer"}
    run(experiment(codecs=[entry | {"rates": [64, 32]}]), out, executor=thread, console=console)
    result = run(experiment(codecs=[entry | {"rates": [64, 32, 16]}]), out, executor=thread, console=console)
    assert (result.measured, result.known) == (3, 6)
    assert len(rows(out)) == 9


def test_a_codec_that_wants_captions_is_given_them_and_they_decide_the_stream(
    experiment: MakeExperiment,
    tmp_path: Path,
    thread: Executor,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = FolderDataset.items
    texts = {"caption": None}

    def captioned(self: FolderDataset) -> list[Item]:
        return [dataclasses.replace(item, caption=texts["caption"]) for item in items(self)]

    monkeypatch.setattr(FolderDataset, "items", captioned)
    wanted = experiment("Quantizer", "Captioned")
    plain = run(wanted, tmp_path / "out", executor=thread, console=console)
    texts["caption"] = "a red fox"
    changed = run(wanted, tmp_path / "out", executor=thread, console=console)
    again = run(wanted, tmp_path / "out", executor=thread, console=console)
    assert plain.measured == 2 * changed.measured, "only what takes captions is measured anew"
    assert again.measured == 0
    sizes = {
        label: [int(row["bytes"]) for row in rows(tmp_path / "out") if row["label"] == label]
        for label in ("quantizer", "captioned")
    }
    assert [ours - theirs for ours, theirs in zip(sizes["captioned"], sizes["quantizer"], strict=True)] == [9] * 12


def test_force_measures_again(experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console) -> None:
    out = tmp_path / "out"
    run(experiment(), out, executor=thread, console=console)
    assert run(experiment(), out, executor=thread, console=console, force=True).measured == 12


def test_a_changed_image_is_measured_anew(
    experiment: MakeExperiment, tmp_path: Path, images: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment(), out, executor=thread, console=console)
    PILImage.new("RGB", (40, 40), (9, 9, 9)).save(images / "img3.png")
    result = run(experiment(), out, executor=thread, console=console)
    assert (result.measured, result.known) == (4, 8)
    assert len(rows(out)) == 12
    assert len(all_rows(out)) == 16, "the image as it was stays, but in no table"
    assert "also holds 4 rows that no table or plot shows: 4 of 1 other image" in text_of(console)


def test_a_changed_configuration_never_shares_a_curve_with_the_old_one(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    entry = {"codec": f"{CODECS}:Quantizer", "label": "Q"}
    run(experiment(codecs=[entry | {"rates": [64, 32, 8]}]), out, executor=thread, console=console)
    changed = entry | {"rates": [64, 32], "options": {"level": 1}}
    run(experiment(codecs=[changed]), out, executor=thread, console=console)
    table = rows(out)
    assert len({row["fingerprint"] for row in table}) == 1
    assert sorted({float(row["rate"]) for row in table}) == [32, 64]
    back = run(experiment(codecs=[entry | {"rates": [64, 32, 8]}]), out, executor=thread, console=console)
    assert (back.measured, back.known) == (0, 9), "what was measured before the change is still known"


def test_rows_of_a_codec_that_is_not_here_stay(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment("Quantizer", "Scribbling"), out, executor=thread, console=console)
    run(experiment("Quantizer"), out, executor=thread, console=console, force=True)
    assert {row["label"] for row in rows(out)} == {"quantizer", "scribbling"}


def test_values_of_another_version_of_a_metric_are_said(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(experiment("Quantizer", "WrongSize"), out, executor=thread, console=console)
    monkeypatch.setattr(PSNR, "fingerprint", lambda _: {"version": "new"})
    run(experiment("Quantizer"), out, executor=thread, console=console)
    line = "psnr of wrong-size was computed by another version of the metric"
    assert line in text_of(console)
    assert line in (out / "provenance.json").read_text()
    assert run(experiment("Quantizer", "WrongSize"), out, executor=thread, console=console).known == 12


def test_one_encode_serves_every_decode_option_and_label(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    log = tmp_path / "log"
    codec = {"codec": f"{CODECS}:Quantizer", "rates": [32, 16], "options": {"log": str(log)}}
    entries = [
        codec | {"label": "A", "decode": {"steps": [1, 2, 5]}},
        codec | {"label": "B", "decode": {"steps": 2}},
    ]
    run(experiment(codecs=entries, verify=False), tmp_path / "out", executor=thread, console=console)
    calls = log.read_text().split()
    assert calls.count("encode") == 3 * 2
    assert calls.count("decode") == 3 * 2 * 3
    table = rows(tmp_path / "out")
    assert [row["steps"] for row in table if row["label"] == "A"] == ["1", "2", "5"] * 6
    assert [row["steps"] for row in table if row["label"] == "B"] == ["2"] * 6
    twice = [row for row in table if row["steps"] == "2"]
    assert len({row["key"] for row in twice}) == len(twice) / 2


def test_two_runs_give_the_same_records_but_for_times(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    for name in ("a", "b"):
        run(experiment(), tmp_path / name, executor=thread, console=console)
    first, second = (
        [{k: v for k, v in row.items() if not k.endswith("_s") and k != "measured"} for row in rows(tmp_path / name)]
        for name in "ab"
    )
    assert first == second


def test_kept_bitstreams_save_the_encode_when_a_metric_is_added(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    entry = {"codec": f"{CODECS}:Quantizer", "options": {"log": str(log)}}
    run(experiment(codecs=[entry], verify=False), out, executor=thread, console=console, keep=True)
    encode_s = [row["encode_s"] for row in rows(out)]
    log.unlink()
    result = run(
        experiment(codecs=[entry], verify=False, metrics=["psnr", "flip"]),
        out,
        executor=thread,
        console=console,
        keep=True,
    )
    assert result.measured == 12
    assert set(log.read_text().split()) == {"decode"}
    assert [row["encode_s"] for row in rows(out)] == encode_s
    assert all(row["flip"] for row in rows(out))
    damaged = next((out / "streams").rglob("*.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-3])
    log.unlink()
    run(experiment(codecs=[entry], verify=False), out, executor=thread, console=console, keep=True, force=False)
    run(
        experiment(codecs=[entry], verify=False, metrics=["psnr", "flip", "ssimulacra2"]),
        out,
        executor=thread,
        console=console,
        keep=True,
    )
    assert log.read_text().split().count("encode") == 1, "a damaged file is not decoded but encoded again"


def test_kept_reconstructions_are_what_was_scored(
    experiment: MakeExperiment, tmp_path: Path, images: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment(), out, executor=thread, console=console, keep=True)
    kept = sorted((out / "reconstructions").rglob("img2*@8*.png"))
    assert len(kept) == 1
    error = np.mean(
        (np.asarray(PILImage.open(kept[0])).astype(float) - np.asarray(PILImage.open(images / "img2.png"))) ** 2
    )
    row = next(row for row in rows(out) if row["image"] == "img2.png" and row["rate"] == "8")
    assert float(row["psnr"]) == pytest.approx(10 * np.log10(255**2 / error), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raising", "RuntimeError: the encoder broke"),
        ("WrongSize", "decode returned uint8 of shape (31, 48, 3), not uint8 of shape (32, 48, 3)"),
        ("FloatImage", "decode returned float32 of shape"),
        ("Scribbling", "ValueError: assignment destination is read-only"),
    ],
)
def test_a_codec_that_fails_costs_its_cells_only(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, name: str, message: str
) -> None:
    result = run(experiment(name, "Quantizer"), tmp_path / "out", executor=thread, console=console)
    table = rows(tmp_path / "out")
    broken = [row for row in table if row["error"]]
    assert len(broken) == result.failed > 0
    assert message in broken[0]["error"]
    assert all(not row["psnr"] for row in broken)
    assert sum(not row["error"] for row in table if row["label"] == "quantizer") == 12
    assert message in text_of(console)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Crashing", "CodecCrashError: the codec's process ended while it worked on this (exit status 11)"),
        ("Hanging", "TaskTimeoutError: stopped after its time limit of 2 s"),
    ],
)
def test_a_codec_that_crashes_or_hangs_costs_its_cells_only(
    experiment: MakeExperiment, tmp_path: Path, console: Console, name: str, message: str
) -> None:
    result = run(experiment(name, timeout=2.0), tmp_path / "out", workers=1, console=console)
    assert (result.measured, result.failed) == (9, 3)
    table = rows(tmp_path / "out")
    assert [row["error"] for row in table if row["rate"] == "16"] == [message] * 3
    assert all(row["psnr"] for row in table if row["rate"] != "16")


def test_failed_cells_are_tried_again(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    for expected in (9, 0):
        result = run(experiment("Raising"), tmp_path / "out", executor=thread, console=console)
        assert (result.measured, result.failed) == (expected, 3)


def test_an_image_that_cannot_be_read_is_error_rows(
    experiment: MakeExperiment, tmp_path: Path, images: Path, thread: Executor, console: Console
) -> None:
    whole = (images / "img1.png").read_bytes()
    (images / "img4.png").write_bytes(whole[: len(whole) // 2])
    result = run(experiment(), tmp_path / "out", executor=thread, console=console)
    assert (result.measured, result.failed) == (12, 4)
    broken = [row for row in rows(tmp_path / "out") if row["error"]]
    assert {row["image"] for row in broken} == {"img4.png"}
    assert all("img4.png" in row["error"] for row in broken)


def test_an_image_below_a_metrics_smallest_size_has_no_value_of_it(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    result = run(experiment(metrics=["psnr", "ms_ssim"]), tmp_path / "out", executor=thread, console=console)
    assert result.failed == 0
    assert all(row["psnr"] and not row.get("ms_ssim") for row in rows(tmp_path / "out"))
    assert run(experiment(metrics=["psnr", "ms_ssim"]), tmp_path / "out", executor=thread, console=console).known == 12
    assert "ms_ssim is not defined below 161x161 pixels: no value for 3 images" in text_of(console)


def test_an_image_of_15x15_is_refused_by_the_codec_in_one_line(
    experiment: MakeExperiment, tmp_path: Path, images: Path, thread: Executor, console: Console
) -> None:
    PILImage.new("RGB", (15, 15)).save(images / "tiny.png")
    run(
        experiment(codecs=[{"codec": "jpeg", "rates": [50]}]),
        tmp_path / "out",
        executor=thread,
        console=console,
    )
    broken = [row for row in rows(tmp_path / "out") if row["error"]]
    assert [row["image"] for row in broken] == ["tiny.png"]
    assert "the image is 15x15: both sides must be at least 16 pixels" in broken[0]["error"]


def test_a_codec_that_is_not_installed_is_said_and_the_others_go_on(
    experiment: MakeExperiment,
    tmp_path: Path,
    thread: Executor,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RDBENCH_VTM_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    codecs = [{"codec": "vtm", "rates": [37]}, {"codec": f"{CODECS}:Quantizer"}]
    result = run(experiment(codecs=codecs), tmp_path / "out", executor=thread, console=console)
    assert result.measured == 12
    assert len(result.missing) == 1
    assert result.missing[0].startswith("vtm is left out: ")
    assert "RDBENCH_VTM_DIR" in result.missing[0]
    with pytest.raises(BenchError, match="none of the experiment's codecs can run here"):
        run(experiment(codecs=codecs[:1]), tmp_path / "other", executor=thread, console=console)


def test_an_empty_folder_is_said(experiment: MakeExperiment, tmp_path: Path, console: Console) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="empty"):
        run(experiment(dataset=f"folder:{tmp_path / 'empty'}"), tmp_path / "out", console=console)


def test_a_damaged_ledger_is_said_and_replaced_from_the_records(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment(), out, executor=thread, console=console)
    before = (out / "records.csv").read_bytes()
    (out / LEDGER_NAME).write_bytes(b"garbage" * 1000)
    result = run(experiment(), out, executor=thread, console=console)
    assert (result.measured, result.known) == (0, 12)
    assert "is damaged" in text_of(console)
    assert "starting anew from records.csv" in text_of(console)
    assert list(out.glob(f"{LEDGER_NAME}.damaged-*"))
    assert (out / "records.csv").read_bytes() == before


def test_results_that_came_with_a_clone_are_known(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    run(experiment(), tmp_path / "out", executor=thread, console=console)
    (tmp_path / "clone").mkdir()
    for name in ("records.csv", "provenance.json"):
        shutil.copy(tmp_path / "out" / name, tmp_path / "clone" / name)
    before = (tmp_path / "clone" / "provenance.json").read_bytes()
    result = run(experiment(), tmp_path / "clone", executor=thread, console=console)
    assert (result.measured, result.known) == (0, 12)
    assert (tmp_path / "clone" / "provenance.json").read_bytes() == before


def test_a_records_file_of_something_else_is_not_swallowed(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "records.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BenchError, match=r"is not a records\.csv of rdbench"):
        run(experiment(), out, executor=thread, console=console)
    assert (out / "records.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_results_folder_is_said(experiment: MakeExperiment, tmp_path: Path, console: Console) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    with pytest.raises(BenchError, match="not writable: choose another with --out"):
        run(experiment(), out, console=console)


def test_a_results_folder_that_cannot_be_made_is_said(
    experiment: MakeExperiment, tmp_path: Path, console: Console
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match=r"cannot make the results folder .* choose another --out"):
        run(experiment(), tmp_path / "file" / "out", console=console)


def test_a_folder_the_system_says_is_read_only_is_said(
    experiment: MakeExperiment, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # what a user who is not root meets
    with pytest.raises(BenchError, match="not writable: choose another with --out"):
        run(experiment(), tmp_path / "out", console=console)


def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_was_measured(
    experiment: MakeExperiment,
    tmp_path: Path,
    thread: Executor,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = Ledger.put
    written = 0

    def put_until_full(self: Ledger, cells: Iterable[Cell]) -> Put:
        nonlocal written
        written += 1
        if written == 6:
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            self._db.execute(f"PRAGMA max_page_count={pages}")
            cells = [dataclasses.replace(cell, error="x" * 10_000) for cell in cells]
        return put(self, cells)

    monkeypatch.setattr(Ledger, "put", put_until_full)
    with pytest.raises(BenchError, match="the disk is full; free some space and run again"):
        run(experiment(), tmp_path / "out", executor=thread, console=console)
    monkeypatch.undo()
    result = run(experiment(), tmp_path / "out", executor=thread, console=console)
    assert (result.measured, result.known) == (7, 5)


def _interrupt(monkeypatch: pytest.MonkeyPatch, calls: Container[int], *, committed: bool = False) -> None:
    """Let Ctrl-C come as cells are noted, at these calls (from 1), before or after they are in the ledger."""
    put = Ledger.put
    counted = itertools.count(1)

    def interrupted_put(self: Ledger, cells: Iterable[Cell]) -> Put:
        now = next(counted) in calls
        result = put(self, cells) if committed or not now else None
        if result is None or now:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Ledger, "put", interrupted_put)


@pytest.mark.parametrize("committed", [False, True])
def test_ctrl_c_while_a_cell_is_noted_keeps_it(
    experiment: MakeExperiment,
    tmp_path: Path,
    thread: Executor,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    committed: bool,
) -> None:
    _interrupt(monkeypatch, {2}, committed=committed)
    result = run(experiment(), tmp_path / "out", executor=thread, console=console)
    with Ledger(tmp_path / "out" / LEDGER_NAME) as ledger:
        kept = {cell.key for cell in ledger.cells()}
    assert result.interrupted
    assert len(kept) == result.measured >= 2
    assert len(rows(tmp_path / "out")) == len(kept)


class Immediate(Executor):
    """Runs each task as it is submitted; like Dask's, its `shutdown` cannot cancel."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True) -> None:  # type: ignore[override]
        raise AssertionError("an executor that was given is not the run's to shut down")


def test_ctrl_c_keeps_all_that_was_measured_but_no_failures(
    experiment: MakeExperiment, tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupt(monkeypatch, {1})
    result = run(experiment("Raising"), tmp_path / "out", executor=Immediate(), console=console)
    assert result.interrupted
    found = rows(tmp_path / "out")
    assert result.measured == len(found) > 0
    assert result.failed == 0
    assert not any(row["error"] for row in found)
    # What failed while it was interrupted is tried again.
    monkeypatch.undo()
    again = run(experiment("Raising"), tmp_path / "out", executor=Immediate(), console=console)
    assert again.known == result.measured
    assert again.failed > 0


def test_a_second_ctrl_c_ends_the_run_at_once(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupt(monkeypatch, {1, 2})
    with pytest.raises(KeyboardInterrupt):
        run(experiment(), tmp_path / "out", executor=thread, console=console)


def _start_slow_run(tmp_path: Path, images: Path) -> "subprocess.Popen[str]":
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\nfrom faulty_codecs import Quantizer\n"
        "class Slow(Quantizer):\n"
        "    def encode(self, image, rate):\n"
        "        time.sleep(0.3)\n"
        "        return super().encode(image, rate)\n"
    )
    experiment = {
        "name": "slow",
        "dataset": f"folder:{images}",
        "metrics": ["psnr"],
        "codecs": [{"codec": f"{slow}:Slow"}],
    }
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(experiment))
    command = [
        sys.executable,
        "-m",
        "rdbench",
        "run",
        str(tmp_path / "slow.yaml"),
        "--out",
        str(tmp_path / "out"),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*command, "--workers", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Where these tests run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while _count(tmp_path / "out") < 2:
        assert time.monotonic() < deadline, "the run never got anywhere"
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    return process


def _count(out: Path) -> int:
    if not (out / LEDGER_NAME).exists():
        return 0
    try:
        with Ledger(out / LEDGER_NAME) as ledger:
            return len(ledger)
    except BenchError:  # the other process is just creating it
        return 0


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_was_measured_and_writes_the_tables(
    tmp_path: Path, images: Path, order: signal.Signals
) -> None:
    with _start_slow_run(tmp_path, images) as process:
        process.send_signal(order)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: " in errors
    assert "Traceback" not in errors
    good = [row for row in rows(tmp_path / "out") if not row["error"]]
    assert 2 <= len(good) < 12
    assert all(not row["error"] for row in rows(tmp_path / "out")), "cells in flight are lost, not failed"


def test_kill_minus_nine_loses_the_cells_in_flight_only(
    tmp_path: Path, images: Path, console: Console, thread: Executor
) -> None:
    with _start_slow_run(tmp_path, images) as process:
        process.kill()
    before = _count(tmp_path / "out")
    assert 2 <= before < 12
    from rdbench.experiment import load_experiment

    result = run(load_experiment(tmp_path / "slow.yaml"), tmp_path / "out", executor=thread, console=console)
    assert (result.measured, result.known) == (12 - before, before)


def test_the_provenance_says_what_ran_and_names_no_path(
    experiment: MakeExperiment,
    tmp_path: Path,
    thread: Executor,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/rdbench", "run", "quick", f"--out={tmp_path}/out"])
    run(experiment(), tmp_path / "out", executor=thread, console=console)
    text = (tmp_path / "out" / "provenance.json").read_text()
    data = json.loads(text)
    fingerprint = data["codecs"]["quantizer"]["fingerprint"]
    assert (fingerprint["codec"], fingerprint["level"]) == ("quantizer", 6)
    assert fingerprint["source"]["class"] == "Quantizer"
    assert fingerprint["source"]["options"] == {"level": 6}
    assert data["runs"][0]["measured"] == 12
    assert data["runs"][0]["command"] == "rdbench run quick --out=out"
    assert data["runs"][0]["packages"]["numpy"] == np.__version__
    assert data["metrics"]["psnr"]["fingerprint"]
    assert str(tmp_path) not in json.dumps(data["runs"])


def test_the_result_counts_the_harness_share(experiment: MakeExperiment, tmp_path: Path, console: Console) -> None:
    result = run(experiment(), tmp_path / "out", workers=1, console=console)
    assert result.harness_share is not None
    assert 0 < result.harness_share < 1
    assert run(experiment(), tmp_path / "out", workers=1, console=console).harness_share is None
