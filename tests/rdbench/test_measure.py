from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import pytest
from rich.console import Console

from rdbench.experiment import Experiment
from rdbench.metrics import UndefinedScoreError
from rdbench.metrics.psnr import PSNR
from rdbench.run import run

MakeExperiment = Callable[..., Experiment]


def test_features_of_the_reference_are_computed_once_per_image(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"prepare": 0, "score": 0}
    prepare, score = PSNR.prepare, PSNR.score

    def counted_prepare(self: PSNR, reference: object) -> object:
        calls["prepare"] += 1
        return prepare(self, reference)  # type: ignore[arg-type]

    def counted_score(self: PSNR, prepared: object, image: object) -> float:
        calls["score"] += 1
        return score(self, prepared, image)  # type: ignore[arg-type]

    monkeypatch.setattr(PSNR, "prepare", counted_prepare)
    monkeypatch.setattr(PSNR, "score", counted_score)
    run(experiment("Quantizer", "Scribbling", "WrongSize"), tmp_path / "out", executor=thread, console=console)
    assert calls["prepare"] == 3, "once for each of three images, not once per rate or codec"
    assert calls["score"] == 3 * (4 + 3), "Quantizer at four rates, WrongSize at three, Scribbling nowhere"


def test_a_derived_metric_needs_no_second_measurement(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, images: Path
) -> None:
    from PIL import Image

    for path in images.iterdir():
        Image.open(path).resize((200, 176)).save(path)
    run(experiment(metrics=["ms_ssim_db"]), tmp_path / "db", executor=thread, console=console)
    run(experiment(metrics=["ms_ssim", "ms_ssim_db"]), tmp_path / "both", executor=thread, console=console)
    import csv

    tables = [list(csv.DictReader((tmp_path / name / "records.csv").open())) for name in ("db", "both")]
    assert [row["ms_ssim_db"] for row in tables[0]] == [row["ms_ssim_db"] for row in tables[1]]
    assert "ms_ssim" not in tables[0][0]


def test_a_metric_that_is_not_defined_for_a_picture_has_no_value_and_spoils_no_cell(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    import csv

    def undefined(self: object, prepared: object, image: object) -> float:
        raise UndefinedScoreError("not for this one")

    monkeypatch.setattr("rdbench.metrics.nlpd.NLPD.score", undefined)
    monkeypatch.setattr("rdbench.metrics.nlpd.NLPD.min_side", 1)
    result = run(experiment(metrics=["psnr", "nlpd"]), tmp_path / "out", executor=thread, console=console)
    assert result.failed == 0
    rows = list(csv.DictReader((tmp_path / "out" / "records.csv").open()))
    assert all(float(row["psnr"]) > 0 for row in rows)
    assert not any(row.get("nlpd") for row in rows)
    assert not any(row["error"] for row in rows)
