import json

import numpy as np
import pytest

from formula_records import make_records
from rdbench.curves import CurveError, rd_curve
from rdbench.interop import InteropError, export_compressai, import_compressai


@pytest.fixture
def stored(tmp_path):
    def store(document):
        path = tmp_path / "result.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return store


def test_out_and_in_again_is_the_same_curve(stored):
    records = make_records({"vtm": (1, 0), "other": (2, 0)}, images=5)
    document = export_compressai(records, "vtm")
    points = import_compressai(stored(document))
    assert points.label == points.name == "vtm"
    assert points.dataset == "formula"
    for metric in ("psnr", "ms_ssim", "lpips_alex"):
        measured, back = rd_curve(records, "vtm", metric), points.curve(metric)
        np.testing.assert_array_equal(back.bpp, measured.bpp)
        np.testing.assert_array_equal(back.quality, measured.quality)
        np.testing.assert_array_equal(back.rates, measured.rates)
    assert points.encode_s.tolist() == [2.0] * 4
    assert points.decode_s.tolist() == [0.5] * 4
    assert points.to_compressai() == document


def test_the_names_are_compressais():
    document = export_compressai(make_records({"vtm": (1, 0)}, images=5), "vtm")
    assert list(document) == ["name", "description", "meta", "results"]
    assert list(document["results"]) == [
        *("bpp", "psnr-rgb", "ms-ssim-rgb", "lpips-alex", "encoding_time", "decoding_time")
    ]
    assert document["meta"]["n_images"] == 5
    assert document["results"]["bpp"] == sorted(document["results"]["bpp"])


def test_every_list_averages_the_same_images(stored):
    records = make_records({"vtm": (1, 0)}, images=5)
    records.loc[(records["image"] == "img03.png") & (records["rate"] == 1), ["error", "psnr"]] = ["boom", np.nan]
    records.loc[records["image"] == "img01.png", "ms_ssim"] = np.nan
    document = export_compressai(records, "vtm")
    rest = records[records["image"] != "img03.png"].groupby("rate")
    np.testing.assert_allclose(document["results"]["psnr-rgb"], rest["psnr"].mean())
    np.testing.assert_allclose(document["results"]["bpp"], rest["bpp"].mean())
    assert "ms-ssim-rgb" not in document["results"]
    assert document["meta"]["left_out_metrics"] == ["ms_ssim"]
    assert document["meta"]["n_images"] == 4


def test_a_lossless_point_is_left_out_as_json_has_no_infinity():
    records = make_records({"jxl": (1, 0)})
    records.loc[(records["image"] == "img00.png") & (records["rate"] == 3), "psnr"] = np.inf
    document = export_compressai(records, "jxl")
    json.dumps(document, allow_nan=False)
    assert len(document["results"]["bpp"]) == 3
    assert document["meta"]["left_out_rates"] == [3.0]


def test_what_cannot_be_exported():
    records = make_records({"vtm": (1, 0)}, images=3)
    for image in range(3):
        records.loc[(records["image"] == f"img{image:02d}.png") & (records["rate"] == image), "error"] = "boom"
    with pytest.raises(CurveError, match="no image that succeeded at every rate"):
        export_compressai(records, "vtm")
    with pytest.raises(CurveError, match="no metric of every image"):
        export_compressai(make_records({"a": (1, 0)}).drop(columns=["psnr", "ms_ssim", "lpips_alex"]), "a")


def test_names_of_other_years_are_known(stored):
    """Until 2023 CompressAI wrote psnr and ms-ssim, since then psnr-rgb; eval_model writes both kinds and luma too."""
    results = {"bpp": [0.2, 0.1], "psnr": [31, 28], "ms-ssim": [0.95, 0.9], "ms-ssim-db": [13, 10]}
    points = import_compressai(stored({"name": "old", "results": results}))
    assert points.metrics == ["ms_ssim_db", "psnr", "ms_ssim"] or set(points.metrics) == {
        *("psnr", "ms_ssim", "ms_ssim_db")
    }
    assert points.curve("psnr").quality.tolist() == [28, 31]
    both = {"bpp": [0.1], "psnr": [33], "psnr-rgb": [28]}
    assert import_compressai(stored({"results": both})).values["psnr"].tolist() == [28]


def test_points_without_a_number_are_not_points(stored):
    results = {"bpp": [0.1, "/", 0.4, None], "psnr-rgb": [28, 31, None, 40], "lpips": [0.3, 0.2, 0.1, 0]}
    points = import_compressai(stored({"name": "gaps", "results": results}))
    assert points.curve("psnr").bpp.tolist() == [0.1]
    assert points.curve("lpips").bpp.tolist() == [0.1, 0.4]
    assert points.to_compressai()["results"]["bpp"] == [0.1, None, 0.4, None]
    with pytest.raises(CurveError, match="'gaps' has no ms_ssim: it has psnr, lpips"):
        points.curve("ms_ssim")


def test_a_summary_for_people(stored):
    table = import_compressai(stored(export_compressai(make_records({"vtm": (1, 0)}), "vtm"))).summary()
    assert table.columns.tolist() == [
        *("curve", "label", "rate", "bpp", "psnr", "ms_ssim", "lpips_alex", "encode_s", "decode_s")
    ]
    assert len(table) == 4


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not JSON: "),
        ("[1, 2]", "it has no 'results' object"),
        ({"name": "x", "results": [1]}, "it has no 'results' object"),
        ({"results": {"psnr-rgb": [1]}}, "its 'results' have no 'bpp'"),
        ({"results": {"bpp": [0.1]}}, "has no metric beside bpp and times"),
        ({"results": {"bpp": [0.1, 0.2], "psnr-rgb": [30]}}, "'psnr-rgb' has length 1, 'bpp' has 2"),
        ({"results": {"bpp": 0.1, "psnr-rgb": 30}}, "'bpp' is not a list of numbers"),
        ({"results": {"bpp": [], "psnr-rgb": []}}, "'bpp' is not a list of numbers"),
    ],
)
def test_a_malformed_file_is_one_clear_line(stored, document, message):
    with pytest.raises(InteropError) as caught:
        import_compressai(stored(document))
    assert message in str(caught.value)
    assert "result.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(InteropError, match="does not exist"):
        import_compressai(tmp_path / "none.json")
    with pytest.raises(InteropError, match="cannot read"):
        import_compressai(tmp_path)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InteropError, match="is not UTF-8 text"):
        import_compressai(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "ms-ssim-rgb",
            [10.2, 14.5],
            "'ms-ssim-rgb' goes from 10.2 to 14.5; these are dB: name the column ms-ssim-db-rgb",
        ),
        ("ms-ssim", [0.9, 1.1], "'ms-ssim' goes from 0.9 to 1.1; these are dB"),
        ("ms-ssim-rgb", [91.0, 97.5], "these look like percent: divide by 100"),
        ("ms-ssim-rgb", [-0.9, 0.5], "a mean of ms-ssim is not negative"),
        ("ms-ssim-db-rgb", [0.91, 0.97], "these are not dB: name the column ms-ssim-rgb"),
        ("ssim", [7.0, 12.0], "these are dB: name the column ssim-db"),
        ("psnr-rgb", [0.91, 0.97], "'psnr-rgb' goes from 0.91 to 0.97; PSNR is in dB: these look like MS-SSIM"),
        ("psnr", [-28.0, -31.0], "PSNR in dB is not negative"),
        ("psnr-rgb", [28.0, 310.0], "at most 100 dB"),
        ("lpips-alex", [12.0, 30.0], "LPIPS (AlexNet) above 2 is not plausible: these look like percent"),
        ("lpips", [-0.1, -0.3], "a distance is not negative"),
        ("dists", [10.0, 20.0], "DISTS above 2 is not plausible"),
        ("vmaf", [0.5, 0.9], "these look like a share of 1: multiply by 100"),
        ("ssimulacra2", [50.0, 120.0], "SSIMULACRA 2 is at most 100"),
        ("flip", [0.1, 5.0], "at most 1"),
    ],
)
def test_figures_that_cannot_be_what_their_column_says(stored, name, values, message):
    with pytest.raises(InteropError) as caught:
        import_compressai(stored({"results": {"bpp": [0.1, 0.2], name: values}}))
    assert message in str(caught.value)
    assert "result.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bpp", "message"),
    [
        ([-0.1, 0.2], "'bpp' goes from -0.1 to 0.2; bits per pixel are above zero"),
        ([0.0, 0.2], "bits per pixel are above zero"),
        ([12.5, 25.0], "an uncompressed image has 24 bpp: these look like percent"),
        ([10.0, 20.0], "every point is nearly lossless: these look like percent"),
        ([2.0, 10.0], "'bpp' is not plausible: 31 dB at 10 bits per pixel; these look like percent"),
        (["0.1", "0.2"], "'bpp' has the text \"0.1\": write numbers without quotes and signs"),
        ([0.1, "12.5 %"], 'has the text "12.5 %"'),
    ],
)
def test_rates_that_are_none(stored, bpp, message):
    with pytest.raises(InteropError) as caught:
        import_compressai(stored({"results": {"bpp": bpp, "psnr-rgb": [28.0, 31.0]}}))
    assert message in str(caught.value)


def test_figures_that_are_rare_but_possible(stored):
    results = {
        "bpp": [0.01, 4.0, 12.0],
        "psnr-rgb": [8.6, 45.0, float("inf")],
        "ms-ssim-rgb": [0.0, 0.5, 1.0],
        "lpips-vgg": [1.2, 0.7, 0.0],
        "kid": [-0.0001, 0.01, 0.02],
        "ssimulacra2": [-40.0, 0.5, 100.0],
        "my-own-metric": [-500.0, 0.0, 1e6],
    }
    assert import_compressai(stored({"results": results})).metrics
