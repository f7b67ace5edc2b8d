"""rdbench paper, as it is called."""

import argparse
from pathlib import Path

import pandas as pd
import pytest

from rdbench.drawing import DrawError
from rdbench.records import RecordsError
from rdpaper import command
from rdpaper.claims import CLAIMS
from rdpaper.curves import AbsentError
from rdpaper.labels import Labels
from rdpaper.write import write_paper


def parse(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["paper", *map(str, arguments)])


@pytest.fixture
def results(records, tmp_path):
    records.to_csv(tmp_path / "records.csv", index=False)
    return tmp_path


def test_the_defaults_are_the_papers_names():
    options = parse()
    assert options.results == Path("results/aigc")
    assert Labels(options.ours, options.additive, options.unrenormalized, options.perco) == Labels()
    assert options.perceptual is None


def test_figures_and_claims_are_written_and_the_verdicts_printed(results, capsys):
    options = parse(results, "--perco", "nothing")
    assert options.execute(options) == 0
    out = results / "paper"
    names = {"fig1-psnr", "fig1-ms-ssim", "fig1-lpips", "fig2-ablation", "fig3-lpips", "fig3-psnr", "fig4-time"}
    assert names <= {file.stem for file in out.iterdir()}
    assert not list(out.glob(".*"))
    table = pd.read_csv(out / "claims.csv")
    assert list(table["claim"]) == [claim.key for claim in CLAIMS]
    verdict = dict(zip(table["claim"], table["verdict"], strict=True))
    assert verdict["attentive-rate"] == "holds"
    assert verdict["ms-ssim-perco"] == "cannot be tested here"
    printed = capsys.readouterr()
    assert "-15.76 %" in printed.out
    assert printed.out.count("holds") >= 10
    assert f"paper: {out}" in printed.err
    text = (out / "claims.md").read_text()
    assert "![PSNR of VVC, PerCo and ours](fig1-psnr.svg)" in text
    assert (
        "**Figure 1a.** PSNR of VVC, PerCo and ours. Mean over 6 images of formula; 'nothing' was not measured." in text
    )
    assert "PerCo is nothing" in text


def test_writing_again_changes_nothing(results):
    texts = []
    for _ in range(2):
        write_paper(results, formats=())
        texts.append([(results / "paper" / name).read_bytes() for name in ("claims.csv", "claims.md")])
    assert texts[0] == texts[1]


def test_figures_that_are_not_drawn_are_said(records, tmp_path, capsys):
    records[records["label"] == "vtm"].drop(columns=["ms_ssim", "lpips_alex"]).to_csv(tmp_path / "records.csv")
    options = parse(tmp_path)
    assert options.execute(options) == 0
    said = capsys.readouterr().err
    assert "not drawn: fig2-ablation: neither LPIPS nor ST-LPIPS was measured" in said
    assert "not drawn: fig3-psnr: 'Ours' was not measured" in said
    text = (tmp_path / "paper" / "claims.md").read_text()
    assert "**Figure 3b** (PSNR of ours by number of denoising steps" in text


def test_folders_that_will_not_do(results, tmp_path):
    with pytest.raises(RecordsError, match="does not exist: run the experiment first"):
        write_paper(tmp_path / "nowhere")
    with pytest.raises(AbsentError, match=r"--ours x, .* choose from Ours, Ours-AE, .*perco"):
        write_paper(results, Labels(*"xxxxxx"))
    assert not (results / "paper").exists()
    (results / "paper").write_text("")
    with pytest.raises(DrawError, match="cannot write"):
        write_paper(results, formats=())
