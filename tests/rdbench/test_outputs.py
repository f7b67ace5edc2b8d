"""What is written from records.csv: all of it, or nothing."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import rdbench.plots
from formula_records import make_records
from rdbench.cli import main
from rdbench.curves import CurveError
from rdbench.drawing import DrawError
from rdbench.outputs import derive, write_derived


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a results folder with tables and plots, whose label `fusion` has two step counts."""
    fusion = make_records({"fusion": (0.9, 0)}, steps=(5, 10))
    records = pd.concat([make_records({"jpeg": (1, 0), "webp": (0.8, 0)}), fusion], ignore_index=True)
    out = tmp_path / "out"
    out.mkdir()
    records.drop(columns=["ms_ssim", "lpips_alex"]).to_csv(out / "records.csv", index=False)
    (out / "provenance.json").write_text(json.dumps({"experiment": {"name": "small", "anchor": "jpeg"}}))
    assert main(["plot", str(out)]) == 0
    return out


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file's bytes and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=300), text


@pytest.mark.parametrize("command", ["plot", "report"])
def test_an_unknown_anchor_is_refused_and_nothing_is_touched(
    command: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = content(folder)
    assert main([command, str(folder), "--anchor", "jpge"]) == 1
    error = capfd.readouterr().err.strip()
    assert error == "rdbench: unknown curve 'jpge': did you mean 'jpeg'?"
    assert content(folder) == before


def test_an_anchor_that_one_of_two_folders_lacks_is_said_before_any_is_touched(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_records({"vtm": (1, 0), "webp": (1.1, 0)}).to_csv(other / "records.csv", index=False)
    before = content(tmp_path)
    for command in ("plot", "report"):
        assert main([command, str(folder), str(other), "--anchor", "jpeg"]) == 1
        assert content(tmp_path) == before
    assert main(["plot", str(folder), str(other), "--anchor", "webp"]) == 0


@pytest.mark.parametrize("command", ["plot", "report"])
def test_a_curve_is_an_anchor_by_the_name_that_it_is_shown_by(command: str, folder: Path) -> None:
    assert main([command, str(folder), "--anchor", "fusion, 10 steps"]) == 0
    if command == "plot":
        table = pd.read_csv(folder / "bd.csv")
        assert set(table["anchor"]) == {"fusion, 10 steps"}
        assert set(table["label"]) == {"jpeg", "webp", "fusion, 5 steps"}
    else:
        assert "Against <strong>fusion, 10 steps</strong>" in (folder / "report.html").read_text()
    assert main([command, str(folder), "--anchor", "fusion"]) == 1, "which of the two?"


def test_an_experiments_anchor_that_has_no_rows_yet_is_a_line(folder: Path) -> None:
    before = (folder / "bd.csv").read_bytes()
    out, text = console()
    write_derived(folder, anchor="vtm", bd_method="pchip", overlay=[], console=out)
    line = "no BD figures: 'vtm', the anchor, has no rows here yet"
    assert text.getvalue() == f"{line}; bd.csv, which is of earlier rows, becomes bd-earlier.csv\n"
    assert (folder / "bd-earlier.csv").read_bytes() == before
    assert not (folder / "bd.csv").exists()
    out, text = console()
    write_derived(folder, anchor="vtm", bd_method="pchip", overlay=[], console=out)
    assert text.getvalue() == "no BD figures: 'vtm', the anchor, has no rows here yet\n"
    assert not (folder / "bd.csv").exists()


def test_without_provenance_bd_figures_stay(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (folder / "bd.csv").read_bytes()
    (folder / "provenance.json").write_text("damaged")
    assert main(["plot", str(folder)]) == 0
    assert "no BD figures: the experiment names no anchor; bd.csv stays as it was" in capfd.readouterr().err
    assert (folder / "bd.csv").read_bytes() == before


def test_plots_that_cannot_be_drawn_leave_the_folder_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(folder)
    records = pd.read_csv(folder / "records.csv")
    records["bpp"] *= 2
    records.to_csv(folder / "records.csv", index=False)
    drawn = 0

    def draw(*arguments: object, **options: object) -> list[Path]:
        nonlocal drawn
        drawn += 1
        if drawn == 2:
            raise DrawError("the disk is full")
        return real(*arguments, **options)  # type: ignore[arg-type]

    real = rdbench.plots.draw
    monkeypatch.setattr(rdbench.plots, "draw", draw)
    with pytest.raises(DrawError):
        write_derived(folder, anchor="jpeg", bd_method="pchip", overlay=[], console=console()[0])
    after = content(folder)
    assert {name for name in before if after[name] != before[name]} == {"records.csv"}
    assert after.keys() == before.keys(), "nothing half made stays behind"


def test_nothing_is_written_before_it_is_asked_for(folder: Path) -> None:
    before = content(folder)
    write = derive(folder, anchor="webp", bd_method="pchip", overlay=[], console=console()[0])
    assert content(folder) == before
    write()
    assert set(pd.read_csv(folder / "bd.csv")["anchor"]) == {"webp"}


def test_the_table_has_both_definitions_and_who_wins(folder: Path) -> None:
    row = pd.read_csv(folder / "bd.csv").set_index("label").loc["webp"]
    assert row["bd_rate"] == pytest.approx(-20)
    assert row["bd_rate_images"] == pytest.approx(-20)
    assert (row["bd_rate_images_n"], row["wins"], row["losses"]) == (6, 6, 0)
    assert np.isfinite(row[["bd_rate_images_low", "bd_rate_images_high"]].astype(float)).all()


def test_a_strict_anchor_is_an_error(folder: Path) -> None:
    with pytest.raises(CurveError, match="did you mean 'webp'"):
        derive(folder, anchor="wepb", bd_method="pchip", overlay=[], console=console()[0], strict=True)
