"""rdbench merge, drop and relabel."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import faulty_codecs
from rdbench.cli import main
from rdbench.experiment import Experiment
from rdbench.layout import LEDGER_NAME
from rdbench.record_writer import read_cells
from rdbench.records import load_records
from rdbench.run import run

QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"
MakeExperiment = Callable[..., Experiment]


@pytest.fixture
def measured(experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console) -> Callable[..., Path]:
    """Return a maker of results folders."""

    def make(name: str, *entries: dict[str, Any], **changes: Any) -> Path:
        codecs = [{"codec": QUANTIZER, "rates": [64, 32, 16, 8]} | entry for entry in entries]
        run(experiment(codecs=codecs, **changes), tmp_path / name, executor=thread, console=console)
        return tmp_path / name

    return make


def keys(out: Path) -> set[tuple[str, str]]:
    return {cell.identity for cell in read_cells(out / "records.csv", {})}


def labels(out: Path) -> dict[str, int]:
    return dict(load_records(out)["label"].value_counts())


A, B = {"label": "a", "options": {"level": 1}}, {"label": "b", "options": {"level": 9}}


@pytest.mark.parametrize("kind", ["folders", "files alone", "files and folder"])
def test_results_of_two_machines_become_one(
    measured: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    first, second = measured("1", A, anchor="a"), measured("2", B)
    sources = [first, second]
    if kind != "folders":
        for number, folder in enumerate([first, second] if kind == "files alone" else [first]):
            alone = tmp_path / f"alone{number}.csv"
            shutil.copy(folder / "records.csv", alone)
            sources[number] = alone
    before = {path: path.read_bytes() for folder in (first, second) for path in folder.rglob("*") if path.is_file()}
    out = tmp_path / "all"
    assert main(["merge", *map(str, sources), "--out", str(out)]) == 0
    assert keys(out) == keys(first) | keys(second)
    assert labels(out) == {"a": 12, "b": 12}
    assert (out / "summary.csv").is_file()
    assert {path: path.read_bytes() for path in before} == before, "what was merged stays as it was"
    provenance = json.loads((out / "provenance.json").read_text())
    if kind == "folders":
        assert set(provenance["codecs"]) == {"a", "b"}
        assert len(provenance["runs"]) == 2
        assert (out / "bd.csv").is_file()
    assert main(["merge", *map(str, sources), "--out", str(out)]) == 0
    assert "0 of them new" in capfd.readouterr().err


def test_two_configurations_of_one_label_are_kept_apart_and_the_line_that_mends_it_does(
    measured: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = (
        measured("1", A, {"label": "c", "options": {"level": 3}}),
        measured("2", A | {"options": {"level": 2}}),
    )
    out = tmp_path / "all"
    assert main(["merge", str(first), str(second), "--out", str(out)]) == 0
    error = capfd.readouterr().err
    assert "a has 2 configurations" in error
    assert labels(out) == {"c": 12}
    assert keys(out) == keys(first) | keys(second)
    line = next(line for line in error.splitlines() if "rdbench relabel" in line)
    command = line.partition("rdbench ")[2].replace("NEW", "a2").split()
    assert main(command) == 0
    assert labels(out) == {"a": 12, "a2": 12, "c": 12}


def test_conflicting_values_are_said_and_the_first_are_kept(
    measured: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = measured("1", A), measured("2", A)
    assert main(["merge", str(first), str(second), "--out", str(tmp_path / "all")]) == 0
    assert "other values, the first are kept: a at" in capfd.readouterr().err, "times always differ"
    assert read_cells(tmp_path / "all" / "records.csv", {}) == read_cells(first / "records.csv", {})


def test_rows_are_dropped_and_stay_so(
    measured: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = measured("1", A, B)
    assert main(["drop", str(out), "--label", "a", "--rate", "8", "--dry-run"]) == 0
    assert "3 rows would be dropped" in capfd.readouterr().err
    assert len(keys(out)) == 24
    assert main(["drop", str(out), "--label", "a", "--rate", "8"]) == 0
    assert main(["drop", str(out), "--image", "img1.png"]) == 0
    assert len(keys(out)) == 24 - 3 - 7
    assert main(["drop", str(out), "--label", "b"]) == 0
    assert labels(out) == {"a": 6}
    measured("1", A | {"rates": [64]})
    assert main(["drop", str(out), "--unused"]) == 0
    assert labels(out) == {"a": 3}
    assert len(keys(out)) == 3
    assert main(["drop", str(out), "--label", "a"]) == 0
    assert keys(out) == set()
    assert not (out / "summary.csv").exists()
    assert not (out / "plots").exists()


def test_errors_are_dropped(experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console) -> None:
    out = tmp_path / "out"
    run(experiment("Raising"), out, executor=thread, console=console)
    assert main(["drop", str(out), "--errors"]) == 0
    assert {cell.error for cell in read_cells(out / "records.csv", {})} == {""}
    assert len(keys(out)) == 9


def test_a_clone_without_a_ledger_can_be_tended(measured: Callable[..., Path]) -> None:
    out = measured("1", A, B)
    (out / LEDGER_NAME).unlink()
    assert main(["relabel", str(out), "a", "anchor"]) == 0
    assert labels(out) == {"anchor": 12, "b": 12}
    assert set(json.loads((out / "provenance.json").read_text())["codecs"]) == {"anchor", "b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["drop", "OUT"], "name what to drop: --label, --image, --rate, --errors or --unused"),
        (["drop", "OUT", "--label", "aa"], "unknown label 'aa': did you mean 'a'?"),
        (["drop", "OUT", "--image", "img9.png"], "unknown image 'img9.png': did you mean 'img"),
        (["drop", "OUT", "--rate", "9"], "unknown rate '9': have 16, 32, 64, 8"),
        (["drop", "nowhere", "--errors"], "'nowhere' is no results folder: it has no records.csv"),
        (["relabel", "OUT", "c", "d"], "unknown label 'c': have a, b"),
        (["relabel", "OUT", "a", "b"], "'b' has another configuration"),
        (["relabel", "OUT", "a", "a"], "give a new label that differs from the old one"),
        (["relabel", "OUT", "a", "c", "--fingerprint", "zz"], "'a' has no configuration zz: have "),
        (["merge", "nowhere", "--out", "OUT"], "'nowhere' does not exist: give a results folder or its records.csv"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    measured: Callable[..., Path], capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = measured("1", A, B)
    before = (out / "records.csv").read_bytes()
    capfd.readouterr()
    assert main([str(out) if argument == "OUT" else argument for argument in arguments]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
    assert (out / "records.csv").read_bytes() == before
