"""Figures against closed forms, and their intervals against a slow loop."""

import numpy as np
import pytest

from formula_records import make_records
from rdbench.bd import BDError, NotMonotoneError, bd_quality
from rdbench.curves import Curve, curve_data
from rdbench.stats import jackknife_interval
from rdpaper.estimates import (
    EstimateError,
    largest_saving,
    pair_decodes,
    quality_at_equal_rate,
    rate_at_equal_quality,
    relative_quality,
)


def pair(labels, **options):
    frame = make_records(labels, **options)
    return [curve_data(frame, name) for name in labels]


def test_bd_figures_are_those_of_the_bd_module():
    anchor, test = pair({"a": (1.25, 0), "b": (1, 0)})
    rate = rate_at_equal_quality(anchor, test, "psnr")
    assert rate.value == pytest.approx(-20)
    assert (rate.low, rate.high) == (pytest.approx(-20), pytest.approx(-20))
    assert (rate.unit, rate.n_images) == ("%", 6)
    anchor, test = pair({"a": (1, 0), "b": (1, 1.5)})
    gain = quality_at_equal_rate(anchor, test, "psnr")
    assert (gain.value, gain.unit) == (pytest.approx(1.5), "dB")


def test_relative_quality_is_a_share_of_the_anchors_mean():
    anchor, test = pair({"a": (1, 0), "b": (1, 2)})  # a gain of 2 takes 10 % off the LPIPS
    better = relative_quality(anchor, test, "lpips_alex")
    assert (better.value, better.low, better.high) == tuple(pytest.approx(10) for _ in range(3))
    assert relative_quality(test, anchor, "lpips_alex").value == pytest.approx(-100 / 9)
    higher = relative_quality(*pair({"a": (1, 0), "b": (1, 3)}), "psnr")
    assert higher.value == pytest.approx(100 * 3 / np.mean([26 + 9 / 2 - 0.5]))


def test_the_interval_of_relative_quality_is_that_of_the_ratio():
    anchor, test = pair({"a": (1, 0), "b": (0.9, 1)}, noise=0.08, seed=3)
    found = relative_quality(anchor, test, "lpips_alex")
    one, two = (data.curve("lpips_alex") for data in (anchor, test))

    def percent(weight):
        means = [
            Curve.from_points(c.name, "lpips_alex", weight @ c.image_bpp, weight @ c.image_quality) for c in (one, two)
        ]
        return bd_quality(*means, interval=False).percent

    assert found.value == pytest.approx(bd_quality(one, two).percent)
    without = [percent(weight) for weight in (1 - np.eye(6)) / 5]
    assert (found.low, found.high, "") == pytest.approx(jackknife_interval(found.value, np.array(without)))
    assert found.low < found.value < found.high


def test_the_largest_saving_is_where_the_curves_are_farthest_apart():
    anchor, test = make_records({"a": (1, 0)}), make_records({"b": (1, 0)})
    test["psnr"] += test["rate"]  # 4 dB an octave instead of 3, from the same start
    saving = largest_saving(curve_data(anchor, "a"), curve_data(test, "b"), "psnr")
    # from 26 to 35 dB (image 0) they part by 1/3 - 1/4 octaves a dB; the last piece is a 64th of that range
    piece = 9 / 64
    assert saving.value == pytest.approx(100 * (1 - 2 ** (-(9 - piece / 2) / 12)))
    worse = largest_saving(curve_data(test, "b"), curve_data(anchor, "a"), "psnr")
    assert worse.value == pytest.approx(100 * (1 - 2 ** (piece / 2 / 12)))


def test_a_figure_that_cannot_be_had_says_why():
    anchor, test = pair({"a": (1, 0), "b": (1, 100)})
    with pytest.raises(BDError, match="no overlap: psnr of 'a'"):
        largest_saving(anchor, test, "psnr")
    few = make_records({"a": (1, 0), "b": (1, 1)})
    few.loc[few["rate"] == 2, "lpips_alex"] = 0.9
    with pytest.raises(NotMonotoneError, match="not monotone"):
        relative_quality(curve_data(few, "a"), curve_data(few, "b"), "lpips_alex")


def test_no_interval_from_two_images():
    for figure in (relative_quality, largest_saving, rate_at_equal_quality):
        found = figure(*pair({"a": (1.2, 0), "b": (1, 0.2)}, images=2), "psnr")
        assert np.isfinite(found.value)
        assert np.isnan([found.low, found.high]).all()
        assert "no interval: it needs 6 images, there are 2" in found.notes


def test_an_interval_that_hangs_on_one_image_is_withheld():
    frame = make_records({"a": (1, 0), "b": (1, 1)})
    second = (frame["label"] == "b") & (frame["rate"] == 1)
    carries = frame["image"] == "img00.png"
    frame.loc[second & ~carries, "lpips_alex"] += 0.2
    frame.loc[second & carries, "lpips_alex"] -= 0.4
    found = relative_quality(curve_data(frame, "a"), curve_data(frame, "b"), "psnr")
    assert np.isfinite(found.low)
    found = largest_saving(curve_data(frame, "a"), curve_data(frame, "b"), "lpips_alex")
    assert np.isnan(found.low)
    assert "no interval: with one image less there is no figure, for 1 of the 6 images" in found.notes


def decodes(change):
    """Records of one codec at 5 and 50 steps; `change` gives the second one's gain in PSNR by image and rate."""
    frame = make_records({"x": (1, 0)}, steps=(5, 50))
    rows = frame["steps"] == 50
    number = frame["image"].str[3:5].astype(float)
    frame.loc[rows, "psnr"] += change(number[rows], frame.loc[rows, "rate"])
    return frame


def test_steps_are_compared_on_the_same_bitstreams():
    frame = decodes(lambda image, rate: 0.1 * image * (rate + 1))
    found = pair_decodes(curve_data(frame, "x, 5 steps"), curve_data(frame, "x, 50 steps"), "psnr")
    np.testing.assert_allclose(found.bpp, 0.05 * 2.0 ** np.arange(4) * 1.25)
    np.testing.assert_allclose(found.difference, 0.1 * np.outer(np.arange(6), np.arange(1, 5)), atol=1e-9)
    mean = found.mean(np.array([False, True, False, True]))
    by_image = 0.1 * np.arange(6) * 3
    assert (mean.value, mean.unit, mean.n_images) == (pytest.approx(by_image.mean()), "dB", 6)
    # of six values 0.3 apart: the others' mean is a fifth of the sum less the value
    half = 2.570582 * 0.3 / 5 * np.sqrt(17.5)
    assert (mean.low, mean.high) == pytest.approx((0.75 - half, 0.75 + half), rel=1e-6)


def test_only_images_and_rates_that_both_have_are_compared():
    frame = decodes(lambda image, rate: image)
    frame.loc[(frame["image"] == "img05.png") & (frame["steps"] == 5) & (frame["rate"] == 0), "psnr"] = np.nan
    frame = frame[~((frame["steps"] == 50) & (frame["rate"] == 3))]
    found = pair_decodes(curve_data(frame, "x, 5 steps"), curve_data(frame, "x, 50 steps"), "psnr")
    assert found.difference.shape == (5, 3)
    assert found.mean(np.full(3, True)).value == pytest.approx(2)


def test_steps_that_cannot_be_compared():
    frame = decodes(lambda image, rate: image)
    five, fifty = (curve_data(frame, f"x, {n} steps") for n in (5, 50))
    found = pair_decodes(five, fifty, "psnr")
    with pytest.raises(EstimateError, match=r"no rate in the range .* measured were 0.0625 to 0.5 bpp"):
        found.mean(found.bpp > 9)
    with pytest.raises(EstimateError, match="have no image with vmaf at every rate in common"):
        pair_decodes(five, fifty, "vmaf")
    frame.loc[frame["steps"] == 50, "bpp"] *= 1.01
    with pytest.raises(EstimateError, match="were not decoded from the same bitstreams"):
        pair_decodes(curve_data(frame, "x, 5 steps"), curve_data(frame, "x, 50 steps"), "psnr")
    frame.loc[frame["steps"] == 50, "rate"] += 100
    with pytest.raises(EstimateError, match="have no rate in common"):
        pair_decodes(curve_data(frame, "x, 5 steps"), curve_data(frame, "x, 50 steps"), "psnr")
