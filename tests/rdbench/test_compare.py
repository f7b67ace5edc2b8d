from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from formula_records import make_records
from rdbench.bd import bd_rate
from rdbench.compare import bd_table, compare, compare_curves
from rdbench.curves import CurveError, curve_data, rd_curve
from rdbench.interop import load_published

ROOT = Path(__file__).parents[2]


def test_the_figures_are_those_of_the_two_curves(base, new):
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    assert (psnr.base, psnr.new, psnr.metric, psnr.n_images) == ("vtm", "ours", "psnr", 8)
    assert psnr.bd_rate == bd_rate(rd_curve(base, "vtm", "psnr"), rd_curve(new, "ours", "psnr"))
    assert psnr.bd_rate.value == pytest.approx(-20, abs=1e-9)
    assert psnr.bd_quality.value > 0
    assert (psnr.wins, psnr.losses, psnr.undefined) == (8, 0, 0)
    assert psnr.encode_ratio == pytest.approx(0.8)
    assert psnr.decode_ratio == pytest.approx(1)


def test_qualities_are_read_off_the_curves_at_a_rate(base, new):
    anchor, test = curve_data(base, "vtm"), curve_data(new, "ours")
    curve = rd_curve(base, "vtm", "psnr")
    between = float(np.sqrt(curve.bpp[1] * curve.bpp[2]))
    (psnr,) = compare_curves(anchor, test, ["psnr"], at=[float(curve.bpp[1]), between, 99.0])
    assert list(psnr.at) == [float(curve.bpp[1]), between]
    assert "at 99 bpp there is no quality: one of the curves does not reach it" in psnr.notes
    before, now = psnr.at[float(curve.bpp[1])]
    assert before == pytest.approx(float(curve.quality[1]))
    assert now > before
    assert curve.quality[1] < psnr.at[between][0] < curve.quality[2]
    # What `ours` needs 20 % fewer bits for is what it has there.
    (same,) = compare_curves(anchor, test, ["psnr"], at=[0.8 * float(curve.bpp[1])])
    assert same.at[0.8 * float(curve.bpp[1])][1] == pytest.approx(float(curve.quality[1]))


def test_every_metric_both_have_is_compared(base, new):
    new["lpips_alex"] = np.nan
    assert [c.metric for c in compare(base, "vtm", new, "ours")] == ["psnr", "ms_ssim"]
    with pytest.raises(CurveError, match="no metric in common"):
        compare(base.drop(columns=["psnr", "ms_ssim"]), "vtm", new, "ours")


def test_wins_and_losses_are_counted_by_image(base, new):
    for i, factor in enumerate([0.7, 0.9, 1.1, 1.3, 0.5, 1.2, 1, 1]):
        new.loc[new["image"] == f"img{i:02d}.png", "bpp"] *= factor / 0.8
    new.loc[(new["image"] == "img07.png") & (new["rate"] == 2), "psnr"] = 0
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    # image 6 is equal but for rounding; image 7 is not monotone
    assert psnr.undefined == 1
    assert psnr.wins + psnr.losses + 1 in (7, 8)
    assert 3 <= psnr.wins <= 4
    assert 3 <= psnr.losses <= 4
    # By the factors above.
    assert [(image, round(value)) for image, value in psnr.worst(3)] == [
        ("img03.png", 30),
        ("img05.png", 20),
        ("img02.png", 10),
    ]
    assert len(psnr.worst(99)) == 7
    assert psnr.worst(0) == []


def test_an_image_that_changed_under_its_name_is_left_out(base, new):
    new.loc[new["image"] == "img02.png", "image_hash"] = "another"
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    assert psnr.n_images == 7
    assert "1 image left out: not the same in the two runs" in psnr.notes
    new["image_hash"] = "another"
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    assert psnr.bd_rate is None
    assert psnr.notes == ("no image is the same in 'vtm' and 'ours': their hashes differ",)


def test_images_without_a_hash_go_by_their_names(base, new):
    new["image_hash"] = np.nan
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    assert psnr.n_images == 8


def test_what_cannot_be_had_is_said(base, new):
    new["psnr"] += 100
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    assert psnr.bd_rate is None
    assert psnr.bd_quality.value == pytest.approx(100, abs=2)
    assert any(note.startswith("BD-rate: no overlap: psnr of 'vtm'") for note in psnr.notes)
    assert (psnr.wins, psnr.losses, psnr.undefined) == (8, 0, 0), "100 dB better at every rate is won"
    assert (psnr.overlap, psnr.bd_rate_images.n_images) == (0, 0)
    with pytest.raises(CurveError, match="unknown metric 'pnsr'"):
        compare(base, "vtm", new, "ours", ["pnsr"])


def test_a_missing_timing_does_not_break_the_comparison(base, new):
    new["decode_s"] = np.nan
    base.loc[0, "encode_s"] = np.nan
    (psnr,) = compare(base, "vtm", new, "ours", ["psnr"])
    assert np.isnan(psnr.decode_ratio)
    assert psnr.encode_ratio == pytest.approx(0.8)


def test_against_a_published_curve():
    ours = curve_data(make_records({"ours": (1, 0)}, points=5), "ours")
    (psnr, ms_ssim) = compare_curves(load_published("published/compressai-kodak/vtm", ROOT), ours)
    assert (psnr.metric, ms_ssim.metric) == ("psnr", "ms_ssim")
    assert np.isfinite(psnr.bd_rate.value)
    assert np.isnan(psnr.bd_rate.low)
    assert (psnr.wins, psnr.losses, psnr.undefined) == (0, 0, 0)
    assert np.isnan(psnr.encode_ratio)


def test_curves_of_one_label_are_compared_by_name():
    records = make_records({"fusion": (1, 0)}, steps=(5, 10), images=4)
    records.loc[records["steps"] == 10, "bpp"] *= 0.9
    (psnr,) = compare(records, "fusion, 5 steps", records, "fusion, 10 steps", ["psnr"])
    assert psnr.bd_rate.value == pytest.approx(-10, abs=1e-9)
    assert psnr.decode_ratio == pytest.approx(1.5)
    with pytest.raises(CurveError, match="several curves"):
        compare(pd.concat([records]), "fusion", records, "fusion, 5 steps")


def test_the_table_has_a_row_for_every_curve_and_metric(noisy):
    table = bd_table(noisy, "a")
    assert table[["label", "metric"]].to_numpy().tolist() == [["b", "psnr"], ["b", "ms_ssim"], ["b", "lpips_alex"]]
    assert set(table["anchor"]) == {"a"}
    assert table["unit"].tolist() == ["dB", "raw", "raw"]
    row = table.iloc[0]
    direct = bd_rate(rd_curve(noisy, "a", "psnr"), rd_curve(noisy, "b", "psnr"))
    assert (row["bd_rate"], row["bd_rate_low"], row["bd_rate_high"]) == (direct.value, direct.low, direct.high)
    assert (row["n_images"], row["note"]) == (8, "")


def test_the_table_says_why_a_figure_is_missing(noisy):
    lost = noisy["label"].eq("b") & noisy["rate"].eq(2)
    noisy.loc[lost, "psnr"] = 20.0
    far = noisy[noisy["label"] == "b"].assign(label="c")
    far["psnr"] += 60
    records = pd.concat([noisy, far], ignore_index=True)
    records.loc[records["label"].eq("c"), "ms_ssim"] = np.nan
    table = bd_table(records, "a").set_index(["label", "metric"])
    assert "not monotone: psnr of 'b'" in table.loc[("b", "psnr"), "note"]
    assert np.isnan(table.loc[("b", "psnr"), "bd_rate"])
    assert table.loc[("b", "lpips_alex"), "note"] == ""
    assert table.loc[("c", "ms_ssim"), "note"] == "'c' has no image with ms_ssim at every rate"
    assert np.isfinite(table.loc[("c", "lpips_alex"), "bd_rate"])


def test_lossless_points_and_failed_images_are_noted_not_fatal(noisy):
    lossless = noisy["label"].eq("b") & noisy["rate"].eq(4) & noisy["image"].eq("img00.png")
    noisy.loc[lossless, "psnr"] = np.inf
    noisy.loc[noisy["label"].eq("b") & noisy["image"].eq("img05.png") & noisy["rate"].eq(1), "error"] = "boom"
    row = bd_table(noisy, "a", ["psnr"]).iloc[0]
    assert np.isfinite(row["bd_rate"])
    assert row["n_images"] == 7
    assert "1 lossless point of 'b' left out" in row["note"]
    assert "7 of 8 images of 'b'" in row["note"]


def test_the_table_takes_a_published_anchor():
    records = make_records({"mine": (1, 0)}, points=5)
    anchor = load_published("published/compressai-kodak/vtm", ROOT)
    table = bd_table(records, anchor)
    psnr = table.set_index("metric").loc["psnr"]
    assert psnr["anchor"] == "VTM (CompressAI)"
    assert np.isfinite(psnr["bd_rate"])
    assert "no interval: dataset means only" in psnr["note"]
    assert "has no lpips_alex" in table.set_index("metric").loc["lpips_alex", "note"]


def test_an_anchor_that_is_not_there(noisy):
    with pytest.raises(CurveError, match="unknown curve 'vtm'"):
        bd_table(noisy, "vtm")
