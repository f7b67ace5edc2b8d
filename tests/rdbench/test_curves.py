import numpy as np
import pandas as pd
import pytest

from formula_records import make_records
from rdbench.curves import (
    Curve,
    CurveError,
    all_curves,
    common_images,
    curve_data,
    metric_info,
    rd_curve,
    resolve_curve,
)


def test_a_curve_is_the_mean_over_images_by_ascending_rate():
    records = make_records({"vtm": (1, 0)}, images=4)
    records["rate"] = 51 - records["rate"]  # a QP: the higher, the fewer bits
    curve = rd_curve(records, "vtm", "psnr")
    assert curve.rates.tolist() == [51, 50, 49, 48]
    assert (np.diff(curve.bpp) > 0).all()
    expected = records.groupby("rate")[["bpp", "psnr"]].mean().loc[[51, 50, 49, 48]]
    np.testing.assert_allclose(curve.bpp, expected["bpp"], rtol=1e-12)
    np.testing.assert_allclose(curve.quality, expected["psnr"], rtol=1e-12)
    assert curve.image_quality.shape == (4, 4)
    assert curve.n_images == curve.attempted == 4


def test_a_failed_cell_takes_its_image_out_and_nothing_else():
    records = make_records({"vtm": (1, 0)}, images=5)
    records.loc[(records["image"] == "img03.png") & (records["rate"] == 2), ["error", "psnr"]] = ["boom", np.nan]
    curve = rd_curve(records, "vtm", "psnr")
    rest = records[records["image"] != "img03.png"]
    assert curve.images == ("img00.png", "img01.png", "img02.png", "img04.png")
    assert curve.attempted == 5
    np.testing.assert_allclose(curve.quality, rest.groupby("rate")["psnr"].mean(), rtol=1e-12)


def test_a_rate_that_few_images_have_does_not_take_the_others_along():
    records = make_records({"vtm": (1, 0)}, images=5)
    hit = (records["rate"] == 3) & (records["image"] != "img00.png")
    records.loc[hit, ["error", "psnr"]] = ["timed out", np.nan]
    curve = rd_curve(records, "vtm", "psnr")
    assert curve.n_images == 5
    assert curve.rates.tolist() == [0, 1, 2]
    assert curve.left_out == (3.0,)


def test_common_images_are_those_complete_in_every_curve():
    records = make_records({"a": (1, 0), "b": (1, 0)}, images=4)
    records.loc[(records["label"] == "a") & (records["image"] == "img00.png") & (records["rate"] == 1), "psnr"] = np.nan
    records = records[~((records["label"] == "b") & (records["image"] == "img03.png"))]
    curves = all_curves(records)
    assert common_images(curves.values(), "psnr") == ["img01.png", "img02.png"]
    assert common_images(curves.values(), "ms_ssim") == ["img00.png", "img01.png", "img02.png"]


def test_images_of_two_datasets_that_share_a_name_are_two():
    one, two = make_records({"a": (1, 0)}, images=2), make_records({"a": (1, 1)}, images=2)
    two["dataset"] = "other"
    curve = rd_curve(pd.concat([one, two], ignore_index=True), "a", "psnr")
    assert curve.images == ("formula/img00.png", "formula/img01.png", "other/img00.png", "other/img01.png")


def test_restrict_keeps_the_order_that_is_asked_for():
    curve = rd_curve(make_records({"vtm": (1, 0)}), "vtm", "psnr")
    some = curve.restrict(["img04.png", "nowhere.png", "img01.png"])
    assert some.images == ("img04.png", "img01.png")
    np.testing.assert_allclose(some.quality, curve.image_quality[[4, 1]].mean(axis=0))
    with pytest.raises(CurveError, match="none of these images"):
        curve.restrict(["nowhere.png"])
    with pytest.raises(CurveError, match="dataset means only"):
        Curve.from_points("p", "psnr", [1, 2], [3, 4]).restrict(["img00.png"])


def test_finite_leaves_lossless_points_out():
    records = make_records({"jxl": (1, 0)})
    records.loc[(records["rate"] == 3) & (records["image"] == "img02.png"), "psnr"] = np.inf
    curve = rd_curve(records, "jxl", "psnr")
    assert curve.quality[-1] == np.inf
    finite = curve.finite()
    assert finite.rates.tolist() == [0, 1, 2]
    assert finite.image_bpp.shape == (6, 3)


def test_published_points_may_come_in_any_order():
    curve = Curve.from_points("p", "psnr", [0.4, 0.1, 0.2], [34, 28, 31], [1, 3, 2])
    assert curve.bpp.tolist() == [0.1, 0.2, 0.4]
    assert curve.quality.tolist() == [28, 31, 34]
    assert curve.rates.tolist() == [3, 2, 1]
    with pytest.raises(CurveError, match="same length"):
        Curve.from_points("p", "psnr", [0.1, 0.2], [28])


def test_a_curve_is_found_by_name_or_by_a_label_that_has_one():
    records = pd.concat(
        [make_records({"fusion": (1, 0)}, steps=(1, 10)), make_records({"vtm": (1, 0)})], ignore_index=True
    )
    assert resolve_curve(records, "vtm") == "vtm"
    assert curve_data(records, "fusion, 1 step").steps == 1
    with pytest.raises(CurveError, match="several curves, name one of them: fusion, 1 step; fusion, 10 steps"):
        resolve_curve(records, "fusion")
    with pytest.raises(CurveError, match="unknown curve 'vtn': did you mean 'vtm'"):
        resolve_curve(records, "vtn")


def test_a_metric_nobody_has():
    records = make_records({"vtm": (1, 0)})
    with pytest.raises(CurveError, match="'vtm' has no image with vmaf at every rate"):
        rd_curve(records, "vtm", "vmaf")
    with pytest.raises(CurveError, match="unknown metric 'pnsr': did you mean 'psnr'"):
        metric_info("pnsr")


def test_direction_and_unit_of_a_metric():
    assert metric_info("psnr").unit == "dB"
    assert metric_info("psnr").higher_is_better
    assert not metric_info("lpips_alex").higher_is_better
    # a published LPIPS whose backbone nobody states is not any of ours
    assert not metric_info("lpips").higher_is_better
    assert "not stated" in metric_info("lpips").title
