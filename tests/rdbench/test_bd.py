import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bjontegaard
import numpy as np
import pandas as pd
import pytest

from formula_records import make_records
from rdbench.bd import (
    BDError,
    NoOverlapError,
    NotFiniteError,
    NotMonotoneError,
    TooFewPointsError,
    ZeroRateError,
    bd_quality,
    bd_rate,
    bd_table,
    image_bd_rates,
)
from rdbench.curves import Curve, CurveError, rd_curve
from rdbench.interop import load_published

ROOT = Path(__file__).parents[2]
BPP = [0.1, 0.2, 0.4, 0.8]
PSNR = [28.0, 31.0, 34.0, 36.5]


def curve(bpp=BPP, quality=PSNR, metric="psnr", name="test"):
    return Curve.from_points(name, metric, bpp, quality)


def published(name, metric="psnr"):
    return load_published(f"published/compressai-kodak/{name}", ROOT).curve(metric)


@pytest.mark.parametrize(("method", "expected"), [("cubic", -18.96), ("pchip", -18.90), ("akima", -18.90)])
def test_hm_to_vtm_on_kodak_is_the_known_figure(method, expected):
    result = bd_rate(published("hm"), published("vtm"), method=method)
    assert result.value == pytest.approx(expected, abs=0.005)
    assert result.unit == "%"
    assert np.isnan([result.low, result.high]).all()
    assert result.notes == ("no interval: dataset means only",)


def test_ms_ssim_in_db_gives_another_figure_than_raw():
    hm, vtm = published("hm", "ms_ssim"), published("vtm", "ms_ssim")
    assert bd_rate(hm, vtm).value == pytest.approx(-20.36, abs=0.005)
    decibel = [replace(c, metric="ms_ssim_db", quality=-10 * np.log10(1 - c.quality)) for c in (hm, vtm)]
    assert bd_rate(*decibel).value == pytest.approx(-16.99, abs=0.005)
    assert bd_quality(hm, vtm).unit == "raw"
    assert bd_quality(*decibel).unit == "dB"


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
def test_a_rate_scaled_everywhere_is_that_bd_rate(method):
    result = bd_rate(curve(), curve(np.array(BPP) * 0.8), method=method)
    assert result.value == pytest.approx(-20, abs=1e-9)
    assert result.overlap == 1
    back = bd_rate(curve(np.array(BPP) * 0.8), curve(), method=method)
    assert back.value == pytest.approx(25, abs=1e-9)


def test_a_quality_shifted_everywhere_is_that_bd_quality():
    result = bd_quality(curve(), curve(quality=np.array(PSNR) + 1.5))
    assert result.value == pytest.approx(1.5, abs=1e-12)
    assert result.unit == "dB"
    mean = 32.4  # of the anchor over log rate: about the middle of its range
    assert result.percent == pytest.approx(100 * 1.5 / mean, rel=0.02)


def test_signs_of_a_lower_is_better_metric():
    """Half the LPIPS at equal rate: fewer bits, a negative difference, and a positive share."""
    lpips = np.array([0.4, 0.3, 0.2, 0.1])
    anchor, test = curve(quality=lpips, metric="lpips_alex"), curve(quality=0.9 * lpips, metric="lpips_alex")
    assert bd_rate(anchor, test).value < 0
    quality = bd_quality(anchor, test)
    assert quality.value < 0
    assert quality.percent == pytest.approx(10, abs=1e-9)
    worse = bd_quality(test, anchor)
    assert worse.value == pytest.approx(-quality.value)
    assert worse.percent == pytest.approx(-100 / 9, abs=1e-9)
    assert bd_rate(test, anchor).value > 0


def test_points_in_any_order_give_the_same_figure():
    lpips = [0.4, 0.3, 0.2, 0.1]
    anchor = curve(quality=lpips, metric="lpips_alex")
    forward = bd_rate(anchor, curve([0.09, 0.15, 0.33, 0.7], lpips, "lpips_alex"))
    backward = bd_rate(anchor, curve([0.7, 0.33, 0.15, 0.09], lpips[::-1], "lpips_alex"))
    assert forward == backward


def test_a_curve_against_itself_is_zero():
    assert bd_rate(curve(), curve()).value == 0
    assert str(bd_quality(curve(metric="psnr"), curve()).value) == "0.0"
    lpips = curve(quality=[0.4, 0.3, 0.2, 0.1], metric="lpips_alex")
    assert str(bd_quality(lpips, lpips).value) == "0.0"


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
@pytest.mark.parametrize("figure", [bd_rate, bd_quality])
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (curve(BPP[:2], PSNR[:2]), TooFewPointsError, "too few points: 'test' has 2"),
        (
            curve(quality=[28, 31, 30.5, 36]),
            NotMonotoneError,
            "goes from 31 to 30.5 between 0.2 and 0.4",
        ),
        (curve(quality=[28, 31, 31, 36]), NotMonotoneError, "not monotone"),
        (curve([0.1, 0.2, 0.2, 0.4]), NotMonotoneError, "between 0.2 and 0.2 bpp"),
        (curve([0.0, 0.2, 0.3, 0.4]), ZeroRateError, "zero rate: 'test' has a point at 0 bpp"),
        (curve(quality=[28, 31, 34, np.inf]), NotFiniteError, "psnr inf at 0.8 bpp; leave lossless points out"),
        (curve(quality=[28, np.nan, 34, 36]), NotFiniteError, "psnr nan at 0.2 bpp"),
    ],
)
def test_every_trap_is_an_error_of_its_own(figure, method, bad, error, message):
    for pair in ((curve(name="anchor"), bad), (bad, curve(name="anchor"))):
        with pytest.raises(error) as caught:
            figure(*pair, method=method)
        assert message in str(caught.value)
        assert isinstance(caught.value, BDError)
        assert "\n" not in str(caught.value)


def test_no_overlap_says_both_ranges():
    far = curve(np.array(BPP) * 100, np.array(PSNR) + 20)
    with pytest.raises(NoOverlapError, match=r"psnr of 'anchor' is 28 to 36\.5, of 'test' 48 to 56\.5"):
        bd_rate(curve(name="anchor"), far)
    with pytest.raises(NoOverlapError, match=r"bpp of 'anchor' is 0\.1 to 0\.8, of 'test' 10 to 80"):
        bd_quality(curve(name="anchor"), far)
    touching = curve(np.array(BPP) * 8, np.array(PSNR) + 8.5)
    with pytest.raises(NoOverlapError):
        bd_rate(curve(), touching)


def test_cubic_wants_four_points():
    three = curve(BPP[:3], PSNR[:3])
    assert bd_rate(three, three).value == 0
    with pytest.raises(TooFewPointsError, match="cubic needs 4"):
        bd_rate(three, three, method="cubic")


def test_other_mistakes():
    with pytest.raises(BDError, match="unknown BD method 'pchipp': did you mean 'pchip'"):
        bd_rate(curve(), curve(), method="pchipp")
    with pytest.raises(BDError, match="a curve of psnr, 'test' one of ms_ssim"):
        bd_rate(curve(), curve(quality=[0.8, 0.9, 0.95, 0.97], metric="ms_ssim"))


def test_the_overlap_is_the_share_of_the_joint_range():
    """Quality 28..36.5 and 31..39.5: 5.5 of 11.5 dB in common. Rates 0.1..0.8 and 0.2..1.6: two of four octaves."""
    test = curve(np.array(BPP) * 2, np.array(PSNR) + 3)
    rate, quality = bd_rate(curve(), test), bd_quality(curve(), test)
    assert rate.overlap == pytest.approx(5.5 / 11.5)
    assert quality.overlap == pytest.approx(0.5)
    assert rate.notes[0] == "BD-rate: the curves share only 48 % of their quality range"
    assert quality.notes[0] == "BD-quality: the curves share only 50 % of their rate range"
    assert not any("share only" in note for note in bd_rate(curve(), curve()).notes)


@pytest.fixture
def noisy():
    records = make_records({"a": (1, 0), "b": (0.8, 0.1)}, images=8, points=5, noise=0.03, seed=5)
    random = np.random.default_rng(1)
    records["psnr"] += random.normal(0, 0.15, len(records))
    records["lpips_alex"] *= random.uniform(0.97, 1.03, len(records))
    return records


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
@pytest.mark.parametrize("metric", ["psnr", "lpips_alex"])
def test_the_interval_is_that_of_a_paired_bootstrap(noisy, method, metric):
    """Against the slow way: average each resample, ask the bjontegaard package, take the percentiles."""
    a, b = rd_curve(noisy, "a", metric), rd_curve(noisy, "b", metric)
    sign = 1 if metric == "psnr" else -1
    weights = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=60) / 8
    rates, qualities = [], []
    for w in weights:
        given = (w @ a.image_bpp, sign * (w @ a.image_quality), w @ b.image_bpp, sign * (w @ b.image_quality))
        rates.append(bjontegaard.bd_rate(*given, method=method, min_overlap=0))
        qualities.append(sign * bjontegaard.bd_psnr(*given, method=method, min_overlap=0))
    for figure, values in ((bd_rate, rates), (bd_quality, qualities)):
        result = figure(a, b, method=method, resamples=60, seed=3)
        np.testing.assert_allclose([result.low, result.high], np.percentile(values, [2.5, 97.5]), rtol=1e-7)
        assert result.low < result.value < result.high


def test_the_interval_is_paired(noisy):
    """Images differ far more than codecs do. Resampled apart, the two curves would hide their difference."""
    a, b = rd_curve(noisy, "a", "psnr"), rd_curve(noisy, "b", "psnr")
    paired = bd_rate(a, b)
    order = np.random.default_rng(0).permutation(8)
    shuffled = replace(b, image_bpp=b.image_bpp[order], image_quality=b.image_quality[order])
    unpaired = bd_rate(a, shuffled)
    assert unpaired.value == pytest.approx(paired.value, abs=1e-9)
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_images_all_alike_leave_no_uncertainty():
    records = make_records({"a": (1, 0), "b": (0.8, 0)})
    for column in ("bpp", "psnr"):
        records[column] = records.groupby(["label", "rate"])[column].transform("mean")
    result = bd_rate(rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr"))
    assert result.value == pytest.approx(-20, abs=1e-9)
    assert (result.low, result.high) == pytest.approx((-20, -20), abs=1e-9)


def test_the_same_seed_gives_the_same_interval(noisy):
    a, b = rd_curve(noisy, "a", "psnr"), rd_curve(noisy, "b", "psnr")
    assert bd_rate(a, b, seed=1) == bd_rate(a, b, seed=1)
    assert bd_rate(a, b, seed=1).low != bd_rate(a, b, seed=2).low
    assert np.isnan(bd_rate(a, b, resamples=0).low)


def test_two_images_have_no_interval():
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=2)
    result = bd_rate(rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr"))
    assert result.value == pytest.approx(-20, abs=1e-9)
    assert np.isnan(result.low)
    assert result.notes == ("no interval: it needs 3 images, there are 2",)


def test_an_interval_of_many_unusable_resamples_is_withheld():
    """One image carries the curve: resamples without it are not monotone."""
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=4)
    flat = (records["label"] == "b") & (records["image"] != "img00.png")
    records.loc[flat & (records["rate"] == 2), "psnr"] -= 3.2
    records.loc[(records["label"] == "b") & (records["image"] == "img00.png") & (records["rate"] == 2), "psnr"] += 2
    result = bd_rate(rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr"))
    assert np.isfinite(result.value)
    assert np.isnan([result.low, result.high]).all()
    assert "resamples are not monotone or do not overlap" in result.notes[-1]


def test_curves_of_different_images_meet_on_the_common_ones():
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=6)
    a, b = rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr")
    some, others = a.images[:4], a.images[2:][::-1]
    result = bd_rate(a.restrict(some), b.restrict(others))
    both = a.images[2:4]
    assert result == bd_rate(a.restrict(both), b.restrict(both))
    assert result.n_images == 2
    with pytest.raises(BDError, match="no image in common"):
        bd_rate(a.restrict(a.images[:3]), b.restrict(a.images[3:]))


def test_each_image_on_its_own(noisy):
    a, b = rd_curve(noisy, "a", "psnr"), rd_curve(noisy, "b", "psnr")
    ours = image_bd_rates(a, b)
    theirs = [
        bjontegaard.bd_rate(
            a.image_bpp[i], a.image_quality[i], b.image_bpp[i], b.image_quality[i], "pchip", min_overlap=0
        )
        for i in range(8)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    broken = b.image_quality.copy()
    broken[3, 2] = 0
    assert np.isnan(image_bd_rates(a, replace(b, image_quality=broken))).tolist() == [i == 3 for i in range(8)]
    with pytest.raises(BDError, match="not known image by image"):
        image_bd_rates(a, published("vtm"))


def test_the_table_has_a_row_for_every_curve_and_metric(noisy):
    table = bd_table(noisy, "a", resamples=50)
    assert table[["label", "metric"]].to_numpy().tolist() == [["b", "psnr"], ["b", "ms_ssim"], ["b", "lpips_alex"]]
    assert set(table["anchor"]) == {"a"}
    assert table["unit"].tolist() == ["dB", "raw", "raw"]
    row = table.iloc[0]
    direct = bd_rate(rd_curve(noisy, "a", "psnr"), rd_curve(noisy, "b", "psnr"), resamples=50)
    assert (row["bd_rate"], row["bd_rate_low"], row["bd_rate_high"]) == (direct.value, direct.low, direct.high)
    assert (row["n_images"], row["note"]) == (8, "")


def test_the_table_says_why_a_figure_is_missing(noisy):
    lost = noisy["label"].eq("b") & noisy["rate"].eq(2)
    noisy.loc[lost, "psnr"] = 20.0
    far = noisy[noisy["label"] == "b"].assign(label="c")
    far["psnr"] += 60
    records = pd.concat([noisy, far], ignore_index=True)
    records.loc[records["label"].eq("c"), "ms_ssim"] = np.nan
    table = bd_table(records, "a", resamples=20).set_index(["label", "metric"])
    assert "not monotone: psnr of 'b'" in table.loc[("b", "psnr"), "note"]
    assert np.isnan(table.loc[("b", "psnr"), "bd_rate"])
    assert table.loc[("b", "lpips_alex"), "note"] == ""
    assert table.loc[("c", "ms_ssim"), "note"] == "'c' has no image with ms_ssim at every rate"
    assert np.isfinite(table.loc[("c", "lpips_alex"), "bd_rate"])


def test_lossless_points_and_failed_images_are_noted_not_fatal(noisy):
    lossless = noisy["label"].eq("b") & noisy["rate"].eq(4) & noisy["image"].eq("img00.png")
    noisy.loc[lossless, "psnr"] = np.inf
    noisy.loc[noisy["label"].eq("b") & noisy["image"].eq("img05.png") & noisy["rate"].eq(1), "error"] = "boom"
    row = bd_table(noisy, "a", ["psnr"], resamples=50).iloc[0]
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


def test_nothing_heavy_is_imported_until_it_is_needed():
    code = "import sys, rdbench.bd, rdbench.compare, rdbench.interop, rdbench.plots; print(*sys.modules)"
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert not {"torch", "matplotlib", "scipy", "bjontegaard", "PIL"} & set(done.stdout.split())


TURNS = [28.0, 34.0, 34.1, 34.2, 40.0]  # rising points; a cubic through them falls in the middle


@pytest.mark.parametrize(
    ("figure", "place"), [(bd_rate, r"psnr 3[0-9.]+"), (bd_quality, r"0\.[0-9]+ bpp")], ids=["rate", "quality"]
)
def test_a_cubic_that_turns_back_is_refused_with_its_place(figure, place):
    bpp = [0.1, 0.2, 0.4, 0.8, 1.6]
    quality = TURNS if figure is bd_quality else [28.0, 28.1, 34.0, 39.9, 40.0]
    straight, bent = curve(bpp, [28, 31, 34, 37, 40.0], name="anchor"), curve(bpp, quality, name="bent")
    for pair in ((straight, bent), (bent, straight)):
        with pytest.raises(
            NotMonotoneError, match=rf"not monotone: the cubic fit of 'bent' turns back at {place}, .* use pchip"
        ):
            figure(*pair, method="cubic")
        assert np.isfinite(figure(*pair, method="pchip").value)


def test_a_fit_that_turns_back_outside_of_the_overlap_does_no_harm():
    bpp = [0.1, 0.2, 0.4, 0.8, 1.6]
    bent = curve(bpp, TURNS, name="bent")
    beyond = curve([1.0, 1.2, 1.4, 1.6], [34.5, 36, 38, 40.0], name="beyond")
    assert np.isfinite(bd_quality(bent, beyond, method="cubic").value)


def test_images_whose_cubic_turns_back_have_no_figure_of_their_own():
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=4, points=5)
    bent = records["label"].eq("b") & records["image"].eq("img02.png")
    records.loc[bent, "psnr"] = [28.0, 28.1, 32.0, 35.9, 36.0]
    a, b = rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr")
    assert np.isnan(image_bd_rates(a, b, method="cubic")).tolist() == [False, False, True, False]
    assert np.isfinite(image_bd_rates(a, b, method="pchip")).all()
