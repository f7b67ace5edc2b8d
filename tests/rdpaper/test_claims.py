"""Verdicts follow from the records: the same code says "holds" of some, and "does not hold" of their opposite."""

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest

from rdbench.curves import CurveError
from rdbench.errors import BenchError
from rdpaper.claims import CLAIMS, Claim, Region, Verdict, judge, judge_claims
from rdpaper.curves import AbsentError, PaperCurves
from rdpaper.estimates import Estimate
from rdpaper.labels import Labels
from rdpaper.tables import claim_rows, claims_csv, claims_markdown

HOLDS, FAILS, UNTESTED = Verdict.HOLDS, Verdict.FAILS, Verdict.UNTESTED


def verdicts(records, labels=None, **options):
    """Return each claim's judgement by its key."""
    return {row.claim.key: row for row in judge_claims(PaperCurves(records, labels, **options))}


def claim(region, figure=None, metric="lpips"):
    return Claim("key", "text", "figure", metric, "statistic", "%", region, lambda *_: None, figure)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "size"),
    [
        (-17, -14, HOLDS, HOLDS),
        (-15.76, -10, HOLDS, HOLDS),
        (-9, -4, HOLDS, FAILS),
        (-40, -20, HOLDS, FAILS),
        (3, 5, FAILS, FAILS),
        (0, 0, FAILS, FAILS),
        (-2, 1, FAILS, FAILS),
        (-20, 4, UNTESTED, UNTESTED),
        (math.nan, math.nan, UNTESTED, UNTESTED),
    ],
)
def test_a_claim_of_direction_and_size(low, high, verdict, size):
    estimate = Estimate((low + high) / 2, low, high, "%", 19)
    below = claim(Region(high=0), (-15.76, -15.76))
    assert judge(estimate, below)[:2] == (verdict, size)
    above = claim(Region(low=0), (15.76, 15.76))
    mirrored = Estimate(-estimate.value, -high, -low, "%", 19)
    assert judge(mirrored, above)[:2] == (verdict, size)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.1, 0.2, HOLDS), (-0.3, -0.26, FAILS), (0.25, 0.4, FAILS), (0.2, 0.3, UNTESTED), (-1, 1, UNTESTED)],
)
def test_a_claim_of_a_range(low, high, verdict):
    assert judge(Estimate(0, low, high, "dB", 19), claim(Region(-0.25, 0.25)))[:2] == (verdict, None)


def test_sizes_of_another_metric_are_not_compared():
    below = claim(Region(high=0), (-15.76, -15.76))
    for low, high, verdict in [(-17, -14, HOLDS), (-9, -4, HOLDS), (-2, 1, UNTESTED), (3, 5, FAILS)]:
        estimate = Estimate((low + high) / 2, low, high, "%", 19)
        assert judge(estimate, below, same_metric=False)[:2] == (verdict, UNTESTED)


def test_an_undecided_claim_says_so():
    _, _, reasons = judge(Estimate(-5, -20, 4, "%", 19), claim(Region(high=0)))
    assert reasons == ("undecided by 19 images: only part of the interval is below 0 %",)


def test_every_claim_holds_where_it_is_so(records):
    found = verdicts(records)
    assert list(found) == [claim.key for claim in CLAIMS]
    assert {key: row.verdict for key, row in found.items() if row.verdict is not HOLDS} == {}
    assert found["attentive-rate"].estimate.value == pytest.approx(-15.76, abs=3)
    assert found["attentive-rate"].size is HOLDS
    assert found["saving-vvc"].estimate.value == pytest.approx(-50, abs=4)
    assert found["largest-saving-vvc"].size is FAILS, "half the bits, and not 79 %"
    assert found["few-steps-psnr"].estimate.value == pytest.approx(0.4 * 2.5 - 0.3)
    assert {row.estimate.n_images for row in found.values()} == {6}


def test_no_claim_holds_where_the_opposite_is_so(make):
    records = make(
        lpips={5: 0.9, 10: 1.0, 20: 0.8, 50: 1.3},
        psnr=lambda count, rate: (count == 5) * 0.5 + (count == 20) * 0.8 + (count == 50) * (0.9 + 0 * rate),
    )
    found = verdicts(records, Labels(ours="Ours-FE", unrenormalized="Ours"))
    assert (found["fidelity-rate"].verdict, found["fidelity-quality"].verdict) == (FAILS, FAILS)
    found = verdicts(records, Labels(ours="Ours-AE", additive="Ours"))
    assert (found["attentive-rate"].verdict, found["attentive-quality"].verdict) == (FAILS, FAILS)
    found = verdicts(records, Labels(vtm="perco", perco="vtm"))
    assert found["psnr-vvc"].verdict is FAILS
    assert found["ms-ssim-perco"].verdict is FAILS
    found = verdicts(records, Labels(ours="perco", perco="Ours"))
    assert found["ms-ssim-vvc"].verdict is FAILS
    found = verdicts(records, Labels(ours="vtm", vtm="Ours, 10 steps"))
    assert (found["saving-vvc"].verdict, found["largest-saving-vvc"].verdict) == (FAILS, FAILS)
    found = verdicts(records)
    steps = ("more-steps", "beyond-default-20", "low-rate-lpips", "low-rate-psnr", "few-steps-psnr")
    assert {key: found[key].verdict for key in steps} == dict.fromkeys(steps, FAILS)
    assert found["beyond-default-50"].verdict is HOLDS, "more steps that cost bits gain no more than 7 %"
    assert (found["stable-psnr-20"].verdict, found["stable-psnr-50"].verdict) == (FAILS, FAILS)


def test_what_was_not_measured_cannot_be_tested(records):
    found = verdicts(records[records["label"] != "perco"])
    assert found["ms-ssim-perco"].verdict is UNTESTED
    assert found["ms-ssim-perco"].notes == ("'perco' was not measured",)
    assert found["psnr-vvc"].verdict is HOLDS
    found = verdicts(records[records["steps"] != 50])
    assert found["more-steps"].notes == ("'Ours' was not decoded with 50 steps",)
    assert found["beyond-default-20"].verdict is HOLDS
    found = verdicts(records[records["label"].isin(["vtm", "vvenc"])])
    assert {row.verdict for row in found.values()} == {UNTESTED}
    assert {row.size for row in found.values()} == {UNTESTED, None}
    assert {row.notes for row in found.values()} == {("'Ours' was not measured",)}
    found = verdicts(records.drop(columns="lpips_alex"))
    assert found["attentive-rate"].notes == ("neither LPIPS nor ST-LPIPS was measured",)
    assert found["psnr-vvc"].verdict is HOLDS


def test_rates_on_one_side_of_a_tenth_of_a_bit_leave_the_other_untested(records):
    records["bpp"] *= 4
    found = verdicts(records)
    assert found["low-rate-psnr"].verdict is UNTESTED
    assert found["low-rate-psnr"].notes[0].startswith("no rate in the range that the claim is about")
    assert found["few-steps-psnr"].verdict is not UNTESTED
    records["bpp"] /= 400
    found = verdicts(records)
    assert found["low-rate-psnr"].verdict is HOLDS
    assert found["few-steps-psnr"].verdict is UNTESTED


def test_st_lpips_stands_for_lpips_and_says_so(records):
    records["st_lpips_alex"] = records.pop("lpips_alex")
    row = verdicts(records)["attentive-rate"]
    assert (row.verdict, row.size) == (HOLDS, UNTESTED)
    assert row.metric == "ST-LPIPS (AlexNet)"
    assert "ST-LPIPS (AlexNet) stands for LPIPS, so that sizes do not compare" in row.notes
    records["lpips_vgg"] = records["st_lpips_alex"]
    row = verdicts(records)["attentive-rate"]
    assert (row.size, row.metric) == (HOLDS, "LPIPS (VGG16)")
    assert verdicts(records, perceptual="st_lpips_alex")["attentive-rate"].metric == "ST-LPIPS (AlexNet)"


def test_vvenc_stands_for_vvc_where_vtm_is_missing(records):
    assert "VVC is vtm" in verdicts(records)["psnr-vvc"].notes
    records.loc[records["label"] == "vtm", ["error", "psnr"]] = ["crashed", np.nan]
    assert "VVC is vvenc" in verdicts(records)["psnr-vvc"].notes
    none = verdicts(records[records["label"] != "vvenc"])["psnr-vvc"]
    assert none.notes == ("neither 'vtm' nor 'vvenc' has psnr",)


def test_two_images_decide_nothing(make):
    found = verdicts(make(images=2))
    assert {row.verdict for row in found.values()} == {UNTESTED}
    assert all(any(note.startswith("no interval") for note in row.notes) for row in found.values())
    assert all(np.isfinite(row.estimate.value) for row in found.values())


def test_of_several_step_counts_the_one_nearest_to_ten_is_compared(records):
    paper = PaperCurves(records)
    assert paper.play("ours").name == "Ours, 10 steps"
    assert "perco with 20 steps, Ours with 10" in verdicts(records)["ms-ssim-perco"].notes
    more = pd.concat([records, records[records["label"] == "perco"].assign(steps=8.0)])
    assert PaperCurves(more).play("perco").name == "perco, 8 steps"
    assert PaperCurves(more, Labels(perco="perco, 20 steps")).play("perco").name == "perco, 20 steps"


def test_a_label_that_is_ambiguous(records):
    other = records[records["label"] == "Ours-AE"].assign(options='{"eta": 1}')
    paper = PaperCurves(pd.concat([records, other]))
    with pytest.raises(BenchError, match=r"'Ours-AE' has several curves, name one of them as the label: Ours-AE, eta"):
        paper.play("additive")
    row = {row.claim.key: row for row in judge_claims(paper)}["attentive-rate"]
    assert row.verdict is UNTESTED
    assert "has several curves" in row.notes[0]


def test_labels_that_no_row_has(records):
    with pytest.raises(AbsentError, match=r"no row has any of the labels of --ours a.*: choose from avif"):
        PaperCurves(records[records["label"] == "vtm"].assign(label="avif"), Labels(ours="a"))
    with pytest.raises(CurveError, match="unknown metric 'lpip'"):
        PaperCurves(records, perceptual="lpip")


def test_the_tables_say_the_same(records):
    records.loc[records["label"] == "Ours", "label"] = "A|B"
    labels = Labels(ours="A|B")
    judged = judge_claims(PaperCurves(records[records["label"] != "perco"], labels))
    rows = list(csv.DictReader(io.StringIO(claims_csv(judged))))
    assert [row["claim"] for row in rows] == [claim.key for claim in CLAIMS]
    by_key = {row["claim"]: row for row in rows}
    rate = by_key["attentive-rate"]
    assert float(rate["low"]) < float(rate["ours"]) < float(rate["high"]) < 0
    assert (rate["document"], rate["verdict"], rate["n_images"]) == ("-15.76 %", "holds", "6")
    assert rate["rule"].startswith("holds: the whole interval is below 0 %; does not: no part of it")
    assert rate["size_rule"].startswith("holds: the claim holds and -15.76 % is in the interval")
    assert (by_key["ms-ssim-perco"]["ours"], by_key["ms-ssim-perco"]["n_images"]) == ("", "0")
    assert by_key["ms-ssim-perco"]["note"] == "'perco' was not measured"
    shown = {row["key"]: row for row in claim_rows(judged)}
    text = shown["attentive-rate"]["ours"]
    assert text == f"{float(rate['ours']):+.1f} % ({float(rate['low']):+.1f} to {float(rate['high']):+.1f})"
    assert shown["ms-ssim-perco"]["ours"] == "-"
    assert shown["few-steps-psnr"]["test"].endswith("rates above 0.1 bpp: above 0.25 dB")
    markdown = claims_markdown(judged, labels)
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(table) == len(CLAIMS) + 2
    columns = {line.replace("\\|", "").count("|") for line in table}
    assert columns == {9}
    assert "Ours is A|B" in markdown
