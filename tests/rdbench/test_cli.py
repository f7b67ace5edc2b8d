import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image as PILImage

import faulty_codecs
from formula_records import make_records
from rdbench.cli import main
from rdbench.provenance import planned_cells

QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"
Rows = list[dict[str, str]]


@pytest.fixture
def experiment_file(tmp_path: Path, images: Path) -> Path:
    """Return an experiment with two codecs and enough rate points for BD figures."""
    data = {
        "name": "small",
        "dataset": f"folder:{images}",
        "metrics": ["psnr"],
        "anchor": "coarse",
        "codecs": [
            {"codec": QUANTIZER, "label": "coarse", "options": {"level": 1}},
            {"codec": QUANTIZER, "label": "fine", "options": {"level": 9}},
        ],
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def results(experiment_file: Path, tmp_path: Path) -> Path:
    """Return a results folder made by the command line."""
    out = tmp_path / "out"
    assert main(["run", str(experiment_file), "--out", str(out), "--workers", "1"]) == 0
    return out


def rows(out: Path, name: str = "records.csv") -> Rows:
    with (out / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_run_leaves_every_file_that_is_promised(results: Path) -> None:
    for name in ("records.csv", "summary.csv", "bd.csv", "provenance.json"):
        assert (results / name).stat().st_size > 0
    assert {path.suffix for path in (results / "plots").iterdir()} >= {".svg", ".png"}
    (row,) = rows(results, "bd.csv")
    assert (row["anchor"], row["label"], row["metric"]) == ("coarse", "fine", "psnr")
    assert float(row["bd_rate"]) < 0, "level 9 deflates better than level 1"
    assert len(rows(results, "summary.csv")) == 8


def test_run_takes_a_new_codec_from_a_file_with_rates(experiment_file: Path, results: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from faulty_codecs import Quantizer\nclass Mine(Quantizer):\n    name = 'mine'\n")
    status = main(
        [
            "run",
            str(experiment_file),
            "--out",
            str(results),
            "--workers",
            "1",
            "--codec",
            f"{mine}:Mine",
            "--rates",
            "40,20,10",
        ]
    )
    assert status == 0
    table = rows(results)
    assert {row["label"] for row in table} == {"coarse", "fine", "mine"}
    assert {row["rate"] for row in table if row["label"] == "mine"} == {"10", "20", "40"}
    assert {row["label"] for row in rows(results, "bd.csv")} == {"fine", "mine"}, "the anchor's rows still serve"


def test_run_restricts_codecs_images_and_dataset(experiment_file: Path, tmp_path: Path, images: Path) -> None:
    out = tmp_path / "few"
    other = tmp_path / "other"
    other.mkdir()
    (images / "img2.png").rename(other / "img2.png")
    arguments = ["--codec", "fine", "--limit", "1", "--dataset", f"folder:{other}", "--workers", "1"]
    assert main(["run", str(experiment_file), "--out", str(out), *arguments]) == 0
    assert {(row["label"], row["image"]) for row in rows(out)} == {("fine", "img2.png")}


def test_run_takes_other_rates_for_a_codec_of_the_experiment(experiment_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--codec", "fine", "--rates", "100,50", "--workers", "1"]
    assert main(["run", str(experiment_file), "--out", str(out), *arguments]) == 0
    assert {row["rate"] for row in rows(out)} == {"50", "100"}


def test_results_on_two_datasets_never_share_a_folder(
    experiment_file: Path, results: Path, tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(images, other)
    for path in other.iterdir():
        PILImage.open(path).rotate(180).save(path)
    before = (results / "records.csv").read_bytes()
    assert main(["run", str(experiment_file), "--out", str(results), "--dataset", f"folder:{other}"]) == 1
    assert "holds results on images: give those on other a folder of their own with --out" in capfd.readouterr().err
    assert (results / "records.csv").read_bytes() == before


def test_the_same_images_in_another_folder_are_known(
    experiment_file: Path, results: Path, tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    images.rename(tmp_path / "other")
    command = ["run", str(experiment_file), "--out", str(results), "--dataset", f"folder:{tmp_path / 'other'}"]
    assert main(command) == 0
    assert "0 measured, 0 failed, 24 known" in capfd.readouterr().err
    assert {row["dataset"] for row in rows(results)} == {"other"}


def test_a_comparison_without_a_figure_is_no_success(
    results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (results / "records.csv").read_text()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "records.csv").write_text(text.replace(",img", ",other"))
    assert main(["compare", f"{results}:fine", f"{tmp_path / 'b'}:fine"]) == 1
    assert f"{tmp_path / 'b'}:fine against {results}:fine" in capfd.readouterr().out


def test_run_with_failures_says_so_by_its_status(experiment_file: Path, tmp_path: Path) -> None:
    codec = f"{faulty_codecs.__file__}:Raising"
    out = str(tmp_path / "out")
    assert main(["run", str(experiment_file), "--out", out, "--codec", codec, "--workers", "1"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quik"], "unknown experiment 'quik': did you mean 'quick'?"),
        (["run", "nothing.yaml"], "no experiment file 'nothing.yaml'"),
        (["run", "FILE", "--rates", "1,2"], "--rates needs --codec"),
        (["run", "FILE", "--codec", "coarse", "--rates", "1,x"], "--rates 1,x: give numbers with commas"),
        (["run", "FILE", "--codec", "coarse", "--rates", "500"], "step 500 is out of range"),
        (["run", "FILE", "--codec", "vvencc"], "unknown codec 'vvencc': did you mean 'vvenc'?"),
        (["run", "FILE", "--codec", "jpeg", "--rates", "1,x"], "--rates 1,x: give numbers with commas"),
        (["run", "FILE", "--codec", "jpeg", "--rates", "500"], "codec 'jpeg': quality 500 is out of range"),
        (["run", "FILE", "--dataset", "kodac"], "unknown dataset 'kodac': did you mean 'kodak'?"),
        (["run", "FILE", "--dataset", "folder:/no/such"], "/no/such"),
        (["plot", "/no/such/results"], "/no/such/results"),
        (["compare", "a", "b", "--results", "/no/such"], "/no/such"),
        (
            ["compare", "a", "b", "--fail-if", "bd_rat(psnr) > 1"],
            "unknown figure 'bd_rat': did you mean 'bd_rate'?",
        ),
        (["import", "/no/such.json"], "/no/such.json"),
        (["export", "/no/such", "x"], "/no/such"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str],
    message: str,
    experiment_file: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = ["--out", str(tmp_path / "o")] if arguments[0] == "run" else []
    assert main([str(experiment_file) if a == "FILE" else a for a in arguments] + out) == 1
    error = capfd.readouterr().err.strip()
    assert message in error
    assert error.startswith("rdbench: ")
    assert "\n" not in error


def test_plot_makes_everything_again_from_the_records_alone(results: Path) -> None:
    made = {path.relative_to(results) for path in results.rglob("*") if path.is_file()}
    before = {path: (results / path).read_bytes() for path in made if path.suffix in {".csv", ".svg"}}
    for path in made:
        if path.name not in {"records.csv", "provenance.json"}:
            (results / path).unlink()
    assert main(["plot", str(results)]) == 0
    assert {path: (results / path).read_bytes() for path in before} == before


def test_compare_prints_figures_and_guards_a_bound(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = ["compare", "coarse", "fine", "--results", str(results)]
    assert main(base) == 0
    printed = capfd.readouterr().out
    assert "fine against coarse" in printed
    assert "PSNR" in printed
    bd_rate = float(rows(results, "bd.csv")[0]["bd_rate"])
    assert f"{bd_rate:+.2f} %" in printed
    assert "worst images" not in printed
    assert main([*base, "--metric", "psnr", "--worst", "1"]) == 0
    assert re.search(r"psnr, worst images by BD-rate: \S+\.png [+-][\d.]+ %\n", capfd.readouterr().out)
    assert main([*base, "--fail-if", "bd_rate(psnr) > 0"]) == 0
    assert main([*base, "--fail-if", f"bd_rate(psnr) > {bd_rate - 1}"]) == 3
    assert "failed: bd_rate(psnr)" in capfd.readouterr().out


def test_a_gate_fails_where_it_cannot_be_told(results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = ["compare", "coarse", "fine", "--results", str(results)]
    assert main([*base, "--fail-if", "failed > 0", "--fail-if", "coverage < 1", "--fail-if", "losses > 0"]) == 0
    assert main([*base, "--fail-if", "bd_rate_high(psnr) > 1000"]) == 3
    assert "failed: bd_rate_high(psnr) > 1000: cannot be told for 'fine': no interval" in capfd.readouterr().out
    assert main([*base, "--metric", "psnr", "--fail-if", "bd_rate(ms_ssim) > 2"]) == 3
    assert "'coarse' has no image with ms_ssim at every rate" in capfd.readouterr().out

    # every cell of the new codec failed: there is no metric to compare by
    table = pd.read_csv(results / "records.csv").astype({"error": object})
    table.loc[table["label"] == "fine", ["psnr", "error"]] = [float("nan"), "RuntimeError: broke"]
    (tmp_path / "broken").mkdir()
    table.to_csv(tmp_path / "broken" / "records.csv", index=False)
    broken = ["compare", "coarse", "fine", "--results", str(tmp_path / "broken")]
    assert main(broken) == 1
    assert main([*broken, "--fail-if", "failed > 0"]) == 3
    assert "'coarse' and 'fine' have no metric in common" in capfd.readouterr().out
    assert main([*broken, "--fail-if", "bd_rate(psnr) > 2"]) == 3
    assert "12 cells of 'fine' failed" in capfd.readouterr().out


def test_a_gate_counts_what_the_run_planned(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    provenance = json.loads((results / "provenance.json").read_text())
    assert planned_cells(provenance) == (3, {"coarse": 12, "fine": 12})
    gate = ["compare", "coarse", "fine", "--results", str(results), "--fail-if", "bd_rate(psnr) > 0"]
    assert main(gate) == 0
    provenance["tables"]["fine"]["points"] += [[rate, "{}"] for rate in (1, 2, 3, 4)]
    (results / "provenance.json").write_text(json.dumps(provenance))
    assert main(gate) == 3
    assert "coverage is 0.5 of what was planned" in capfd.readouterr().out
    assert main([*gate, "--min-coverage", "0.5"]) == 0


def test_two_curves_of_one_label_are_told_apart(
    results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(results / "records.csv").astype({"error": object})
    table.loc[(table["label"] == "fine") & (table["image"] == "img1.png"), "error"] = "boom"
    (tmp_path / "new").mkdir()
    table.to_csv(tmp_path / "new" / "records.csv", index=False)
    assert main(["compare", f"{results}:fine", f"{tmp_path / 'new'}:fine", "--fail-if", "bd_rate(psnr) > 1"]) == 3
    printed = capfd.readouterr().out
    assert f"4 cells of '{tmp_path / 'new'}:fine' failed" in printed
    assert f"2 of 3 images of '{tmp_path / 'new'}:fine'" in printed
    assert f"images of '{results}:fine'" not in printed


@pytest.mark.parametrize("label", ["fusion, 10 steps", "a:b", "x/y.json", "published/mine", "50 %"])
def test_a_label_is_found_whatever_is_in_it(
    label: str, results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(results / "records.csv").replace({"label": {"fine": label}})
    (tmp_path / "new").mkdir()
    table.to_csv(tmp_path / "new" / "records.csv", index=False)
    assert main(["compare", "coarse", label, "--results", str(tmp_path / "new"), "--at", "2"]) == 0
    assert main(["compare", f"{results}:coarse", f"{tmp_path / 'new'}:{label}"]) == 0
    assert capfd.readouterr().out.count(f"{label} against coarse") == 2
    assert main(["plot", str(tmp_path / "new"), "--anchor", label]) == 0
    assert main(["export", str(tmp_path / "new"), label, "--out", str(tmp_path / "out.json")]) == 0


def test_many_curves_are_compared_in_one_table_per_metric(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = make_records({"vtm": (1, 0), "a": (0.8, 0), "b": (1.1, 0), "c": (1, 1)}, images=8)
    records.drop(columns="lpips_alex").to_csv(tmp_path / "records.csv", index=False)
    command = ["compare", "vtm", "a", "b", "c", "--results", str(tmp_path)]
    assert main([*command, "--metric", "psnr", "--metric", "ms_ssim"]) == 0
    lines = capfd.readouterr().out.splitlines()
    psnr = lines[lines.index("PSNR (dB) ↑ against vtm") + 2 :][:3]
    assert [line.split()[0] for line in psnr] == ["a", "b", "c"]
    assert all(text in psnr[0] for text in ("-20.00 %", "8/8", "8/0", "p 0.023", "0.8\u00d7"))
    assert all(text in psnr[1] for text in ("+10.00 %", "0/8", "p 0.023", "1.1\u00d7"))
    assert pytest.approx(0.0234, abs=1e-4) == 2 / 2**8 * 3, "Holm's correction for three curves"
    assert any(line.startswith("MS-SSIM ↑ against vtm") for line in lines)
    assert main([*command, "--fail-if", "bd_rate(psnr) > 2"]) == 3
    printed = capfd.readouterr().out
    assert "failed: bd_rate(psnr) > 2: it is 10 for 'b'" in printed
    assert "for 'a'" not in printed
    assert main([*command, "--metric", "psnr", "--markdown"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "**PSNR (dB) ↑ against vtm**"
    assert lines[2].startswith("| curve | BD-rate | 95 % CI | by image | 95 % CI | of |")
    assert {line.count(" | ") for line in lines[2:7] if " | " in line} == {13}


def test_a_lost_image_without_overlap_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = make_records({"vtm": (1, 0), "a": (0.8, 0)}, images=8)
    records.loc[(records["label"] == "a") & (records["image"] == "img05.png"), "psnr"] -= 30
    records[[*records.columns.drop(["lpips_alex", "ms_ssim"])]].to_csv(tmp_path / "records.csv", index=False)
    command = ["compare", "vtm", "a", "--results", str(tmp_path), "--worst", "2", "--min-overlap", "0.3"]
    assert main([*command, "--fail-if", "losses(psnr) > 0"]) == 3
    printed = capfd.readouterr().out
    assert "worst images by BD-rate: img05.png worse at every rate, img00.png -20.0 %" in printed
    assert "7/1" in printed
    assert "7/8" in printed


def test_compare_prints_markdown(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = ["compare", "coarse", "fine", "--results", str(results), "--markdown"]
    assert main([*base, "--fail-if", "bd_rate(psnr) < 1000"]) == 3
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("**fine against coarse, ")
    assert lines[2].startswith("| metric | BD-rate | ")
    assert lines[3].startswith("|:--|--:|")
    assert lines[4].startswith("| PSNR (dB) ↑ | ")
    cells = {line.count(" | ") for line in lines if line.startswith("| ")}
    assert len(cells) == 1, "every row has the same columns"
    assert any(line.startswith("- **failed: bd\\_rate(psnr) \\< 1000: it is -17.") for line in lines)


def test_compare_reaches_across_folders_and_files(
    results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exported = tmp_path / "coarse.json"
    assert main(["export", str(results), "coarse", "--out", str(exported)]) == 0
    assert set(json.loads(exported.read_text())["results"]) >= {
        "bpp",
        "psnr-rgb",
        "encoding_time",
        "decoding_time",
    }
    assert main(["compare", str(exported), f"{results}:fine"]) == 0
    assert "fine against coarse" in capfd.readouterr().out
    document = json.loads(exported.read_text())
    document["meta"]["dataset"] = "Kodak"
    (tmp_path / "other.json").write_text(json.dumps(document))
    assert main(["compare", str(tmp_path / "other.json"), f"{results}:fine"]) == 0
    assert "not the same images: coarse was measured on Kodak, fine on images" in capfd.readouterr().out
    published = ["--published", str(tmp_path / "results" / "published")]
    assert main(["import", str(exported), "--as", "mine/coarse", "--source", "a test", *published]) == 0
    stored = json.loads((tmp_path / "results/published/mine/coarse.json").read_text())
    assert stored["meta"]["source"] == "a test"
    assert main(["import", str(exported), "--as", "mine/coarse", *published]) == 1
    assert main(["import", str(exported), "--as", "../../up", *published]) == 1


@pytest.mark.parametrize("command", ["codecs", "metrics", "doctor"])
def test_what_is_here_is_listed(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 0
    printed = capfd.readouterr().out
    names = {
        "codecs": ["jpeg", "vvenc", "vtm"],
        "metrics": ["psnr", "lpips_alex"],
        "doctor": ["jpeg", "vtm", "psnr"],
    }
    assert all(name in printed for name in names[command])


def test_doctor_says_what_is_missing_and_how_to_get_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RDBENCH_VTM_DIR", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main(["doctor"]) == 0
    lines = capfd.readouterr().out.splitlines()
    (vtm,) = (line for line in lines if "codec vtm" in line)
    assert vtm.startswith("missing")
    assert "RDBENCH_VTM_DIR" in vtm


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "plot", "compare", "codecs", "metrics", "doctor", "import", "export"):
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        assert command in capsys.readouterr().out


def test_the_command_line_starts_without_torch_or_matplotlib() -> None:
    code = "import sys, rdbench.cli as c; c.make_parser(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert not {"torch", "matplotlib", "pandas", "scipy"} & set(done.stdout.split())
