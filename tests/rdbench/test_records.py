import json

import numpy as np
import pandas as pd
import pytest

from formula_records import make_records
from rdbench.records import (
    RecordsError,
    curve_names,
    failures,
    load_records,
    metric_columns,
    summary,
    with_curves,
)


def test_a_file_comes_back_as_it_was_written(tmp_path):
    records = make_records({"vtm": (1, 0), "null": (0.9, 0.3)})
    records.loc[0, "image"] = "NA"  # pandas takes this for a missing value, unless it is told otherwise
    records.loc[3, "psnr"] = np.inf
    records.to_csv(tmp_path / "records.csv", index=False)
    loaded = load_records(tmp_path)
    assert loaded["image"].iloc[0] == "NA"
    assert set(loaded["label"]) == {"vtm", "null"}
    assert (loaded["error"] == "").all()
    for column in ("bpp", "psnr", "encode_s"):
        np.testing.assert_allclose(loaded[column], records[column], rtol=1e-14)
    assert metric_columns(loaded) == ["psnr", "ms_ssim", "lpips_alex"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: run the experiment first"),
        ("", "is empty"),
        ("image,label\na.png,vtm\n", "lacks the columns rate, steps, options, bpp, encode_s, decode_s, error"),
        ("image,label,rate,steps,options,bpp,encode_s,decode_s,error\n", "holds no rows"),
        (
            "image,label,rate,steps,options,bpp,encode_s,decode_s,psnr,error\n"
            "a,vtm,1,,,0.1,1,1,30,\na,vtm,2,,,0.2,1,1,thirty,\n",
            "row 2: psnr is 'thirty', not a number",
        ),
        (
            "image,label,rate,steps,options,bpp,encode_s,decode_s,error\na,vtm,1,,,0.1,1,1,\na,vtm,1,,,0.2,1,1,\n",
            "two rows of 'vtm' for a at rate 1",
        ),
        (
            "image,label,rate,steps,options,bpp,encode_s,decode_s,error\na,vtm,1,,oops,0.1,1,1,\n",
            "options that are not JSON: 'oops'",
        ),
        ("\x00\x01\n\x02,\x03,\x04\n", "records.csv"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, content, message):
    file = tmp_path / "records.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RecordsError) as caught:
        load_records(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_rubbish_is_one_clear_line(tmp_path):
    (tmp_path / "records.csv").write_bytes(b"\xff\xfe\x80" * 50)
    with pytest.raises(RecordsError, match="is not a CSV table"):
        load_records(tmp_path)


def test_a_label_with_several_step_counts_has_as_many_curves():
    records = pd.concat(
        [make_records({"fusion": (1, 0)}, steps=(10, 5, 50)), make_records({"vtm": (1, 0)})], ignore_index=True
    )
    assert curve_names(records) == ["fusion, 5 steps", "fusion, 10 steps", "fusion, 50 steps", "vtm"]


def test_one_step_count_does_not_lengthen_the_name():
    assert curve_names(make_records({"perco": (1, 0)}, steps=(20,))) == ["perco"]


def test_options_that_vary_are_part_of_the_name():
    on, off = make_records({"fusion": (1, 0)}, steps=(10,)), make_records({"fusion": (1, 0)}, steps=(10,))
    on["options"] = json.dumps({"steps": 10, "renorm": True, "seed": 1})
    off["options"] = json.dumps({"steps": 10, "renorm": False, "seed": 1})
    records = pd.concat([on, off], ignore_index=True)
    assert sorted(curve_names(records)) == ["fusion, renorm=false", "fusion, renorm=true"]


def test_rows_keep_their_curve_once_named():
    named = with_curves(make_records({"a": (1, 0), "b": (1, 0)}))
    assert with_curves(named) is named


def test_summary_is_the_mean_over_the_cells_that_succeeded():
    records = make_records({"vtm": (1, 0)}, images=5)
    bad = (records["image"] == "img02.png") & (records["rate"] == 1)
    # a cell whose decoder failed has bytes, and may even carry nonsense; none of it counts
    records.loc[bad, ["error", "psnr", "bpp"]] = ["decoder: out of memory", -99.0, 123.0]
    table = summary(records).set_index("rate")
    good = records[~bad & (records["rate"] == 1)]
    assert table.loc[1.0, ["n_images", "n_errors"]].tolist() == [4, 1]
    assert table.loc[0.0, ["n_images", "n_errors"]].tolist() == [5, 0]
    for column in ("psnr", "bpp", "ms_ssim", "encode_s"):
        assert table.loc[1.0, column] == pytest.approx(good[column].mean(), rel=1e-12)
    assert failures(records).to_dict("records") == [
        {"curve": "vtm", "image": "img02.png", "rate": 1.0, "error": "decoder: out of memory"}
    ]


def test_a_metric_that_covers_fewer_images_says_so():
    records = make_records({"vtm": (1, 0)}, images=5)
    records.loc[records["image"] == "img04.png", "ms_ssim"] = np.nan
    table = summary(records)
    assert table["ms_ssim_images"].tolist() == [4] * 4
    assert "psnr_images" not in table.columns
    columns = table.columns.tolist()
    assert columns.index("ms_ssim_images") == columns.index("ms_ssim") + 1


def test_a_rate_where_all_failed_and_a_lossless_one_keep_their_rows():
    records = make_records({"vtm": (1, 0)})
    records.loc[records["rate"] == 0, ["error", "psnr", "bpp"]] = ["crashed", np.nan, np.nan]
    records.loc[(records["rate"] == 3) & (records["image"] == "img01.png"), "psnr"] = np.inf
    table = summary(records).set_index("rate")
    assert table.loc[0.0, "n_images"] == 0
    assert np.isnan(table.loc[0.0, "psnr"])
    assert table.loc[3.0, "psnr"] == np.inf
    assert np.isfinite(table.loc[3.0, "bpp"])


def test_missing_timings_do_not_break_the_summary():
    records = make_records({"vtm": (1, 0)})
    records["decode_s"] = np.nan
    records.loc[0, "encode_s"] = np.nan
    table = summary(records)
    assert table["decode_s"].isna().all()
    assert table["encode_s"].tolist() == [2.0] * 4
