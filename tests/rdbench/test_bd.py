import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import bjontegaard
import numpy as np
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
    image_bd_rates,
    image_mean,
)
from rdbench.curves import Curve, rd_curve
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


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
@pytest.mark.parametrize("metric", ["psnr", "lpips_alex"])
def test_the_interval_is_that_of_a_paired_jackknife(noisy, method, metric):
    """Against the slow way: leave out each image of both curves, ask the bjontegaard package, take Student's t."""
    a, b = rd_curve(noisy, "a", metric), rd_curve(noisy, "b", metric)
    sign = 1 if metric == "psnr" else -1
    rates, qualities = [], []
    for i in range(8):
        w = np.delete(np.eye(8), i, axis=0).mean(axis=0)
        given = (w @ a.image_bpp, sign * (w @ a.image_quality), w @ b.image_bpp, sign * (w @ b.image_quality))
        rates.append(np.log1p(bjontegaard.bd_rate(*given, method=method, min_overlap=0) / 100))
        qualities.append(sign * bjontegaard.bd_psnr(*given, method=method, min_overlap=0))
    for figure, values in ((bd_rate, rates), (bd_quality, qualities)):
        result = figure(a, b, method=method)
        half = 2.364624 * np.sqrt(np.square(values - np.mean(values)).sum())
        if figure is bd_rate:
            middle = np.log1p(result.value / 100)
            expected = [100 * np.expm1(middle - half), 100 * np.expm1(middle + half)]
        else:
            expected = [result.value - half, result.value + half]
        np.testing.assert_allclose([result.low, result.high], expected, rtol=1e-6)
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


def test_an_interval_that_nobody_asked_for_is_none(noisy):
    result = bd_rate(rd_curve(noisy, "a", "psnr"), rd_curve(noisy, "b", "psnr"), interval=False)
    assert np.isnan([result.low, result.high]).all()
    assert not any("interval" in note for note in result.notes)


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_have_no_interval(images):
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=images)
    result = bd_rate(rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr"))
    assert result.value == pytest.approx(-20, abs=1e-9)
    assert np.isnan([result.low, result.high]).all()
    assert result.notes == (f"no interval: it needs 6 images, there are {images}",)


def test_an_interval_is_withheld_where_the_figure_hangs_on_one_image():
    """One image carries the curve: without it, it is not monotone."""
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=6)
    carries = records["image"] == "img00.png"
    second = (records["label"] == "b") & (records["rate"] == 2)
    records.loc[second & ~carries, "psnr"] -= 3.2
    records.loc[second & carries, "psnr"] += 4
    result = bd_rate(rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr"))
    assert np.isfinite(result.value)
    assert np.isnan([result.low, result.high]).all()
    assert result.notes[-1] == "BD-rate: no interval: with one image less there is no figure, for 1 of the 6 images"


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


def test_nothing_heavy_is_imported_until_it_is_needed():
    code = "import sys, rdbench.bounds, rdbench.compare, rdbench.sources, rdbench.plots; print(*sys.modules)"
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


def test_an_image_that_is_worse_at_every_rate_is_lost_though_it_shares_no_quality():
    records = make_records({"a": (1, 0), "b": (0.8, 0)}, images=4)
    b = records["label"] == "b"
    records.loc[b & (records["image"] == "img00.png"), "psnr"] -= 20
    records.loc[b & (records["image"] == "img01.png"), "psnr"] += 20
    # lower rates and lower qualities than all of the other's: nobody is ahead
    records.loc[b & (records["image"] == "img02.png"), "bpp"] /= 100
    records.loc[b & (records["image"] == "img02.png"), "psnr"] -= 20
    values = image_bd_rates(rd_curve(records, "a", "psnr"), rd_curve(records, "b", "psnr"))
    assert values[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(values[2])
    assert values[3] == pytest.approx(-20)
    lower = records.assign(psnr=-records["psnr"]).rename(columns={"psnr": "lpips_alex", "lpips_alex": "psnr"})
    swapped = image_bd_rates(rd_curve(lower, "a", "lpips_alex"), rd_curve(lower, "b", "lpips_alex"))
    np.testing.assert_allclose(swapped, values)


def test_the_mean_over_images_is_of_those_that_have_a_figure():
    values = np.array([10.0, 20, 30, 10, 20, 30, np.nan, np.inf])
    found = image_mean(values)
    assert (found.value, found.n_images, found.of) == (pytest.approx(20), 6, 8)
    known = np.log1p((120 - values[:6]) / 5 / 100)  # the mean of the five others
    half = 2.570582 * np.sqrt(np.square(known - known.mean()).sum())
    assert found.low == pytest.approx(100 * np.expm1(np.log(1.2) - half), rel=1e-6)
    assert found.high == pytest.approx(100 * np.expm1(np.log(1.2) + half), rel=1e-6)
    few = image_mean(np.array([10.0, 30]))
    assert few.value == pytest.approx(20)
    assert np.isnan([few.low, few.high]).all()
    none = image_mean(np.array([np.nan, np.inf]))
    assert np.isnan(none.value)
    assert (none.n_images, none.of) == (0, 2)
