"""Gates fail where a condition is true, and where it cannot be told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from formula_records import make_records
from rdbench.bounds import Accepted, Bound, BoundError
from rdbench.compare import Comparison, compare, compare_curves
from rdbench.curves import CurveError, curve_data, with_plan
from rdbench.interop import load_published
from rdbench.provenance import planned_cells

ROOT = Path(__file__).parents[2]
ANYTHING = Accepted(overlap=0, coverage=0)


def failures(text, found, accepted=None):
    return Bound.parse(text).failures(found, accepted)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("bd_rate(st_lpips_alex) > 2", ("bd_rate", "st_lpips_alex", ">", 2.0)),
        (" bd_rate_low( psnr )>=-1.5e1 % ", ("bd_rate_low", "psnr", ">=", -15.0)),
        ("encode_ratio>1.1", ("encode_ratio", "", ">", 1.1)),
        ("bd_quality(psnr) < .5", ("bd_quality", "psnr", "<", 0.5)),
        ("failed > 0", ("failed", "", ">", 0.0)),
        ("coverage(psnr) < 1", ("coverage", "psnr", "<", 1.0)),
    ],
)
def test_a_bound_is_read(text, parsed):
    bound = Bound.parse(text)
    assert (bound.figure, bound.metric, bound.operator, bound.number) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bd_rate(psnr)", "write a bound like 'bd_rate(psnr) > 2'"),
        ("bd_rate(psnr) == 2", "cannot read"),
        ("bd_rate(psnr) > two", "cannot read"),
        ("bd_rate(psnr) > nan", "cannot read"),
        ("bd_rate(psnr) > 1e999", "cannot read"),
        ("bd_rate_images > 2", "'bd_rate_images' needs a metric"),
        ("__import__('os')", "cannot read"),
        ("bd_rat(psnr) > 2", "unknown figure 'bd_rat': did you mean 'bd_rate'"),
        ("bd_rate(pnsr) > 2", "unknown metric 'pnsr': did you mean 'psnr'"),
        ("bd_rate > 2", "'bd_rate' needs a metric"),
        ("encode_ratio(psnr) > 2", "'encode_ratio' takes no metric"),
    ],
)
def test_a_bound_that_cannot_be_read(text, message):
    with pytest.raises((BoundError, CurveError)) as caught:
        Bound.parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("bd_rate(psnr) > 2", False),
        ("bd_rate(psnr) < -19.9", True),
        ("bd_rate(psnr) >= -20.1", True),
        ("bd_rate_high(psnr) < -19", True),
        ("bd_rate_images(psnr) < -19.9", True),
        ("bd_rate_images_high(psnr) > -19", False),
        ("bd_quality(psnr) > 0.5", True),
        ("bd_quality_low(psnr) < 0", False),
        ("bd_quality_percent(psnr) > 1", True),
        ("wins(psnr) < 8", False),
        ("losses(psnr) <= 0", True),
        ("losses > 0", False),
        ("overlap(psnr) < 1", False),
        ("overlap < 0.5", False),
        ("coverage < 1", False),
        ("failed > 0", False),
        ("encode_ratio < 1", True),
    ],
)
def test_whether_a_bound_holds(base, new, text, fails):
    found = compare(base, "vtm", new, "ours", ["psnr"])
    lines = failures(text, found)
    assert bool(lines) is fails
    for line in lines:
        assert line.startswith(f"{text}: it is ")
        assert "'ours" in line


def test_a_bound_without_a_metric_is_held_against_every_one(base, new):
    new["lpips_alex"] *= 0.99
    found = compare(base, "vtm", new, "ours", ["psnr", "lpips_alex"])
    assert failures("losses < 9", found) == [
        "losses < 9: it is 0 for 'ours, psnr'",
        "losses < 9: it is 0 for 'ours, lpips_alex'",
    ]


def test_a_metric_that_was_not_compared_fails(base, new):
    found = compare(base, "vtm", new, "ours", ["psnr"])
    assert failures("bd_rate(ms_ssim) > 2", found) == ["bd_rate(ms_ssim) > 2: cannot be told: ms_ssim was not compared"]
    assert failures("failed > 0", []) == ["failed > 0: cannot be told: no metric was compared"]


def test_no_overlap_fails_whatever_is_accepted(base, new):
    new["psnr"] -= 100
    found = compare(base, "vtm", new, "ours", ["psnr"])
    for accepted in (None, ANYTHING):
        (line,) = failures("bd_rate(psnr) > 2", found, accepted)
        assert line.startswith("bd_rate(psnr) > 2: cannot be told for 'ours': ")
        assert "no overlap: psnr of 'vtm'" in line
    assert failures("overlap(psnr) < 0.5", found) == ["overlap(psnr) < 0.5: it is 0 for 'ours'"]
    assert failures("losses(psnr) > 0", found) == ["losses(psnr) > 0: it is 8 for 'ours'"]


def test_curves_that_share_one_per_cent_tell_nothing(base, new):
    """9 dB each, shifted so that 0.18 dB of 17.82 are shared."""
    new["psnr"] += 8.82
    found = compare(base, "vtm", new, "ours", ["psnr"])
    (line,) = failures("bd_rate(psnr) > 2", found)
    assert "the curves share only 1.01 % of their quality range (--min-overlap accepts less)" in line
    assert failures("bd_rate(psnr) > 2", found, Accepted(overlap=0.01)) == []
    assert not failures("bd_quality(psnr) < 0", found), "their rates overlap by far more"


def test_failed_cells_make_a_bound_untellable_and_are_whose_they_are(base, new):
    lost = (new["image"] == "img03.png") & (new["rate"] == 1)
    new.loc[lost, "error"] = "boom"
    found = compare(base, "vtm", new, "ours", ["psnr"])
    assert (found[0].coverage, found[0].failed) == (7 / 8, (0, 1))
    (line,) = failures("bd_rate(psnr) > 2", found)
    assert "1 cell of 'ours' failed" in line
    assert "coverage is 0.875 of what was planned" in line
    assert "7 of 8 images of 'ours'" in line
    assert "'vtm'" not in line
    assert failures("failed > 0", found) == ["failed > 0: it is 1 for 'ours, psnr'"]
    assert failures("coverage < 1", found) == ["coverage < 1: it is 0.875 for 'ours, psnr'"]
    for text in ("losses > 0", "overlap < 0.5", "encode_ratio > 2", "bd_rate_images(psnr) > 2"):
        assert failures(text, found), "so does every other figure"
        assert not failures(text, found, Accepted(coverage=0.8))
    # the other way round it is the anchor's
    (line,) = failures("bd_rate(psnr) > 50", compare(new, "ours", base, "vtm", ["psnr"]))
    assert "1 cell of 'ours' failed" in line


def test_a_rate_that_failed_for_most_images_is_not_overlooked(base, new):
    lost = (new["rate"] == 3) & (new["image"] != "img00.png")
    new.loc[lost, "error"] = "boom"
    found = compare(base, "vtm", new, "ours", ["psnr"])
    assert found[0].n_images == 8, "the rate is left out, not the images"
    assert found[0].coverage == 1 / 8
    (line,) = failures("bd_rate(psnr) > 2", found)
    assert "rate 3 of 'ours' left out: too few images have it" in line


def test_images_without_rows_are_missing(base, new):
    records = pd.concat([base, new[new["image"] != "img07.png"]])
    found = compare(records, "vtm", records, "ours", ["psnr"])
    assert found[0].coverage == 7 / 8
    assert "7 of 8 images of 'ours'" in found[0].notes
    assert failures("bd_rate(psnr) > 2", found)


def test_what_was_planned_and_never_measured_is_missing(base, new):
    curves = with_plan({"ours": curve_data(new, "ours")}, (10, {"ours": 64}))
    (found,) = compare_curves(curve_data(base, "vtm"), curves["ours"], ["psnr"])
    assert found.coverage == pytest.approx(0.5), "32 of 64 cells, 8 of 10 images"
    assert with_plan({"ours": curve_data(new, "ours")}, (0, {}))["ours"].measured == 1, "the plan is not known"


@pytest.mark.parametrize(
    ("provenance", "plan"),
    [
        ({}, (0, {})),
        ({"dataset": "text", "tables": [1]}, (0, {})),
        ({"dataset": {"images": {"a": "1", "b": "2"}}, "tables": {"x": 3, "y": {"points": "z"}}}, (2, {})),
        (
            {
                "dataset": {"images": {"a": "1", "b": "2"}},
                "tables": {"x": {"points": [[1, "{}"], [2, "{}"], [3, "{}"]]}},
            },
            (2, {"x": 6}),
        ),
    ],
)
def test_what_was_planned_is_read_from_provenance(provenance, plan):
    assert planned_cells(provenance) == plan


def test_images_that_nothing_can_be_said_of_may_decide(base, new):
    new.loc[(new["image"] == "img02.png") & (new["rate"] == 2), "psnr"] = 0
    found = compare(base, "vtm", new, "ours", ["psnr"])
    assert (found[0].wins, found[0].losses, found[0].undefined) == (7, 0, 1)
    (line,) = failures("losses(psnr) > 0", found)
    assert "1 of 8 images have no BD-rate of their own" in line
    assert failures("losses(psnr) > 1", found) == []
    assert failures("losses(psnr) < 1", found)
    (line,) = failures("bd_rate_images(psnr) > 2", found)
    assert "only 7 of 8 images have a BD-rate of their own" in line
    assert not failures("bd_rate_images(psnr) > 2", found, Accepted(coverage=0.8))


def test_an_interval_that_is_missing_fails():
    records = make_records({"vtm": (1, 0), "ours": (0.8, 0)}, images=1)
    found = compare(records, "vtm", records, "ours", ["psnr"])
    assert failures("bd_rate(psnr) > 2", found) == [], "one image was planned and is there"
    for text in ("bd_rate_high(psnr) > 2", "bd_rate_low(psnr) < -90", "bd_quality_low(psnr) < 0"):
        (line,) = failures(text, found)
        assert "no interval: it needs 6 images, there are 1" in line


def test_dataset_means_have_no_images_to_count():
    ours = curve_data(make_records({"ours": (1, 0)}, points=5), "ours")
    vtm = load_published("published/compressai-kodak/vtm", ROOT)
    found = compare_curves(vtm, ours, ["psnr"])
    (line,) = failures("bd_rate(psnr) > 1000", found)
    assert "not the same images: VTM (CompressAI) was measured on Kodak, ours on formula (--min-coverage 0" in line
    assert failures("losses(psnr) > 0", found, ANYTHING)
    assert failures("bd_rate_high(psnr) > 1000", found, ANYTHING)
    assert not failures("bd_rate(psnr) > 1000", found, ANYTHING)
    kodak = replace(ours, dataset="kodak", planned=24)
    (line,) = failures("bd_rate(psnr) > 1000", compare_curves(vtm, kodak, ["psnr"]))
    assert "coverage is 0.25" in line
    hm = load_published("published/compressai-kodak/hm", ROOT)
    both = compare_curves(hm, vtm, ["psnr"])
    assert not failures("bd_rate(psnr) > 0", both)
    for text in ("coverage < 1", "failed > 0", "losses > 0", "encode_ratio > 2"):
        (line,) = failures(text, both)
        assert "cannot be told for 'VTM (CompressAI)" in line


def test_lossless_points_are_left_out_and_all_of_them_fail(base, new):
    new.loc[(new["rate"] == 3) & (new["image"] == "img01.png"), "psnr"] = np.inf
    found = compare(base, "vtm", new, "ours", ["psnr"])
    assert "1 lossless point of 'ours' left out" in found[0].notes
    assert not failures("bd_rate(psnr) > 2", found)
    new["psnr"] = np.inf
    (line,) = failures("bd_rate(psnr) > 2", compare(base, "vtm", new, "ours", ["psnr"]))
    assert "too few points" in line


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
def test_nothing_that_is_not_a_number_passes(operator):
    empty = Comparison("vtm", "ours", "psnr", coverage=1.0)
    for figure in ("bd_rate", "bd_rate_low", "bd_quality", "bd_rate_images", "losses", "wins", "overlap", "failed"):
        assert failures(f"{figure}(psnr) {operator} 0", [empty])
    assert failures(f"encode_ratio {operator} 0", [empty])
    assert failures(f"coverage {operator} 0", [replace(empty, coverage=np.nan)])
