"""Names, errors and links that try to break tables, terminals and pages, from a run to its report."""

import csv
import json
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage
from rich.console import Console

import faulty_codecs
from hostile_results import said
from rdbench.cli import main
from rdbench.drawing import drawn_text
from rdbench.errors import BenchError
from rdbench.experiment import Experiment, validate_experiment
from rdbench.files import absolute_codec
from rdbench.kept import RECONSTRUCTIONS
from rdbench.outputs import write_derived
from rdbench.records import load_records
from rdbench.report import write_report
from rdbench.run import run
from rdbench.tables import table_text
from rdbench.text import LIMIT, cell_text, read_cell_text
from small_images import QUANTIZER, write_images

MakeExperiment = Callable[..., Experiment]
CONTROL = [chr(code) for code in (*range(9), *range(11, 32), 127, 0x9B, 0x202E)]


def is_clean(text: str) -> bool:
    text.encode()
    return not any(char in text for char in CONTROL if char != "\r")


def write_picture(folder: bytes, name: bytes, seed: int) -> None:
    os.makedirs(folder, exist_ok=True)
    try:
        with open(os.path.join(folder, name), "wb") as file:
            coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            PILImage.fromarray(coarse).resize((200, 180), PILImage.Resampling.BICUBIC).save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes no such name")


def test_names_that_are_not_utf_8_work_from_reading_to_report(
    tmp_path: Path, thread: Executor, console: Console
) -> None:
    folder = os.fsencode(tmp_path) + b"/pict\xfcres \xe9"
    names = [
        b"caf\xe9.png",
        b"caf\\xe9.png",
        b"a\xff.png",
        b"line\nbreak\x1b[31m.png",
        b"=1+1.png",
        "\u202egnp.png".encode(),
    ]
    for seed, name in enumerate(names):
        write_picture(folder, name, seed)
    with open(folder + b"/broken\xff.png", "wb") as file:
        file.write(b"no picture")
    data = {
        "name": "e",
        "dataset": f"folder:{os.fsdecode(folder)}",
        "codecs": [{"codec": QUANTIZER, "label": label, "options": {"level": 1 + i}} for i, label in enumerate("ab")],
        "metrics": ["psnr"],
        "anchor": "a",
    }
    out = tmp_path / os.fsdecode(b"out \xff [/b]")
    result = run(validate_experiment(data), out, executor=thread, console=console, keep=True)
    assert result.failed == 2 * 4
    records = load_records(out)
    shown = [r"caf\xe9.png", r"caf\\xe9.png", r"a\xff.png", r"line\nbreak\x1b[31m.png", "=1+1.png", r"\u202egnp.png"]
    assert set(records["image"]) == {*shown, r"broken\xff.png"}
    assert len(list((out / RECONSTRUCTIONS).rglob("*.png"))) == 2 * 4 * len(names)
    assert is_clean(said(console).replace("\n", ""))
    for file in ("records.csv", "summary.csv", "bd.csv"):
        assert is_clean((out / file).read_bytes().decode().replace("\n", ""))
    again = run(validate_experiment(data), out, executor=thread, console=console, keep=True)
    assert again.known == 2 * 4 * len(names)
    page = write_report(out, console).read_text()
    assert "no pictures" not in said(console)
    assert is_clean(page.replace("\n", ""))
    gallery = json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>")[0])["gallery"]
    assert {scene["image"] for scene in gallery} <= set(shown)
    assert len(gallery) == len(shown)


def test_an_image_that_cannot_be_read_is_one_line_with_its_path_as_given(
    tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_picture(b"set", b"good.png", 1)
    with open(b"set/broken\xff.png", "wb") as file:
        file.write(b"no picture")
    experiment = validate_experiment(
        {"name": "e", "dataset": "folder:set", "codecs": [{"codec": QUANTIZER, "rates": [8]}], "metrics": ["psnr"]}
    )
    run(experiment, Path("out"), executor=thread, console=console)
    [row] = [row for row in load_records("out").to_dict("records") if row["error"]]
    assert row["error"].startswith(r"ImageError: set/broken\xff.png: not an image")
    assert str(tmp_path) not in said(console)


def test_an_error_that_no_file_can_hold_is_a_printable_line(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    run(experiment("Unprintable", "Quantizer"), out, executor=thread, console=console)
    errors = set(load_records(out).query("error != ''")["error"])
    assert len(errors) == 1
    [error] = errors
    assert error.startswith(r"ValueError: bad name \xff second line \x1b[31m\u202exxx")
    assert len(error) <= LIMIT
    assert is_clean(said(console).replace("\n", ""))
    assert max(map(len, said(console).splitlines())) < 2 * LIMIT


@pytest.mark.parametrize("folder", ["plots", "streams", "reconstructions", "deeper"])
def test_a_folder_that_is_a_link_out_of_the_results_is_refused(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, folder: str
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / folder).symlink_to(elsewhere)
    with pytest.raises(BenchError, match=rf"'{out}/{folder}' is a link out of the results folder"):
        run(experiment(), out, executor=thread, console=console, keep=True)
    assert not list(elsewhere.iterdir())
    (out / folder).unlink()
    (out / "elsewhere").mkdir()
    (out / folder).symlink_to("elsewhere")
    assert run(experiment(), out, executor=thread, console=console, keep=True).failed == 0


def test_a_ledger_that_is_a_link_out_of_the_results_is_refused(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "ledger.sqlite").symlink_to(tmp_path / "other.sqlite")
    with pytest.raises(BenchError, match="is a link out of the results folder"):
        run(experiment(), out, executor=thread, console=console)
    assert not (tmp_path / "other.sqlite").exists()


def test_tables_that_are_links_are_replaced_and_the_folder_itself_may_be_one(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    run(experiment(), tmp_path / "first", executor=thread, console=console)
    out = tmp_path / "out"
    out.symlink_to(tmp_path / "first")
    others = []
    plot = next((out / "plots").glob("*.svg"))
    for file in (out / "records.csv", out / "summary.csv", plot):
        other = tmp_path / f"other-{file.name}"
        file.rename(other)
        file.symlink_to(other)
        others.append((file, other, other.read_bytes()))
    run(experiment(metrics=["psnr", "flip"]), out, executor=thread, console=console)
    for file, other, before in others:
        assert not file.is_symlink()
        assert other.read_bytes() == before


def test_plots_that_are_a_link_out_of_the_results_are_not_drawn(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(experiment(), out, executor=thread, console=console)
    (out / "plots").rename(tmp_path / "plots")
    (out / "plots").symlink_to(tmp_path / "plots")
    assert main(["plot", str(out)]) == 1
    assert "is a link out of the results folder" in capsys.readouterr().err


def test_workers_get_absolute_paths(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that changes the directory, in the process that also reads images and keeps files."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "set", 3)
    (tmp_path / "mine.py").write_text(Path(faulty_codecs.__file__).read_text())
    codecs = [{"codec": f"mine.py:{name}", "rates": [8, 16]} for name in ("Wandering", "Quantizer")]
    data = {"name": "e", "dataset": "folder:set", "codecs": codecs, "metrics": ["psnr"]}
    result = run(validate_experiment(data), tmp_path / "out", executor=thread, console=console, keep=True)
    assert (result.measured, result.failed) == (12, 0)


def test_a_relative_results_folder_is_kept_where_the_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "set", 1)
    codecs = [{"codec": f"{faulty_codecs.__file__}:Wandering", "rates": [8, 16]}]
    data = {"name": "e", "dataset": "folder:set", "codecs": codecs, "metrics": ["psnr"]}
    result = run(validate_experiment(data), Path("out"), workers=1, keep=True)
    assert (result.measured, result.failed) == (2, 0)
    assert len(list((tmp_path / "out" / RECONSTRUCTIONS).rglob("*.png"))) == 2


def test_the_path_of_a_codec_file_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_codec("a/b.py:C") == f"{tmp_path}/a/b.py:C"
    assert absolute_codec("jpeg") == "jpeg"
    assert absolute_codec("/x.py:C") == "/x.py:C"


FORMULAS = ["=HYPERLINK(1)", "+1", "-1", "@x", "'=q"]


def test_no_table_has_a_cell_that_a_spreadsheet_runs(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    out = tmp_path / "out"
    codecs = [{"codec": QUANTIZER, "label": label, "options": {"level": i}} for i, label in enumerate(FORMULAS)]
    run(experiment(codecs=codecs, anchor="=HYPERLINK(1)"), out, executor=thread, console=console)
    with (out / "summary.csv").open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert labels == {f"'{label}" for label in FORMULAS}
    assert {read_cell_text(label) for label in labels} == set(FORMULAS)
    with (out / "bd.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert not any(cell.startswith(("=", "@")) for cell in row.values())
            assert row["anchor"] == "'=HYPERLINK(1)"


def test_numbers_of_a_table_stay_as_they_are() -> None:
    frame = pd.DataFrame(
        {"=a": ["-x", None], "n": [-1.5, np.nan], "c": pd.Categorical(["+y", "z"]), "b": [True, False]}
    )
    assert table_text(frame).splitlines() == ["'=a,n,c,b", "'-x,-1.5,'+y,True", ",,z,False"]


@pytest.mark.parametrize("name", ["$a_$", "$$", "a $5 b $6", "\\$x$", r"$\frac$"])
def test_dollar_signs_in_a_label_are_no_formula(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, name: str
) -> None:
    out = tmp_path / "out"
    run(experiment(codecs=[{"codec": QUANTIZER, "label": name}]), out, executor=thread, console=console)
    assert list((out / "plots").glob("*.svg"))


def test_a_drawn_name_is_one_bounded_line() -> None:
    text = drawn_text("a\n\x1b" + "x" * 400)
    assert text.startswith(r"a\n\x1bxxx")
    assert len(text) < 200


@pytest.mark.parametrize("file", ["records.csv", "provenance.json"])
def test_files_of_a_results_folder_may_begin_with_a_byte_order_mark(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, file: str
) -> None:
    out = tmp_path / "out"
    run(experiment(), out, executor=thread, console=console)
    before = load_records(out)
    (out / file).write_bytes(b"\xef\xbb\xbf" + (out / file).read_bytes())
    pd.testing.assert_frame_equal(load_records(out), before)
    (out / "ledger.sqlite").unlink()
    assert run(experiment(), out, executor=thread, console=console).known == 12
    write_derived(out, anchor=None, bd_method="pchip", overlay=[], console=console)


def test_the_command_line_says_errors_on_a_printable_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no\x1b[31mthing.yaml", "no\udcff.yaml", "x" * 4000 + ".yaml", "a\nb.yaml"):
        assert main(["run", name]) == 1
        error = capsys.readouterr().err
        assert error.startswith(("rdbench: no experiment file '", "rdbench: cannot read 'xxx"))
        assert error.count("\n") == 1
        assert len(error) < LIMIT + 20
        assert is_clean(error.replace("\n", ""))


def test_cells_with_names_read_back() -> None:
    for name in [*FORMULAS, "a\\b", "x\x1b\udcff\u202e\n"]:
        assert read_cell_text(cell_text(name)) == name


def test_a_path_that_no_system_takes_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "e", "dataset": "folder:a\0b", "codecs": [{"codec": QUANTIZER}], "metrics": ["psnr"]}
    with pytest.raises(BenchError, match=r"'folder:a\\x00b' has a character that no path can have"):
        run(validate_experiment(data), Path("never"))
