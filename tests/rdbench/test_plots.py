import hashlib
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import rdbench.plots
from formula_records import make_records
from rdbench.curves import CurveError, all_curves
from rdbench.drawing import DrawError, NothingToDrawError
from rdbench.interop import InteropError, load_published
from rdbench.plots import plot_all, plot_rd, plot_records, styles_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def records():
    fusion = make_records({"fusion": (1, 0)}, steps=(5, 10, 50))
    fusion["psnr"] += 0.2 * np.log(fusion["steps"])
    return pd.concat([make_records({"vtm": (1, 1), "jpeg": (2, 0)}), fusion], ignore_index=True)


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, by file name: (lines by name, footnote)."""
    seen = {}

    def record(lines, metric, notes, path, **options):
        seen[path.name] = ({line.name: line for line in lines}, "; ".join(notes))
        return [path]

    monkeypatch.setattr(rdbench.plots, "draw", record)
    return seen


def texts(svg):
    """Text is drawn as outlines, with the text itself in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8"))


def test_every_plot_of_a_results_folder(records, tmp_path):
    records.drop(columns="ms_ssim").to_csv(tmp_path / "records.csv", index=False)
    files = plot_all(tmp_path)
    metrics = ("psnr", "lpips_alex")
    expected = {
        f"{start}{metric}.{end}" for metric in metrics for start in ("", "steps-fusion-") for end in ("svg", "png")
    }
    assert {file.name for file in files} == expected
    assert {file.parent for file in files} == {tmp_path / "plots"}
    for name in ("psnr", "steps-fusion-lpips_alex"):
        assert Image.open(tmp_path / "plots" / f"{name}.png").size == (1600, 1093)
    text = texts(tmp_path / "plots" / "psnr.svg")
    for expected_text in (
        "PSNR (dB)   ↑ better",
        "Rate (bits per pixel, logarithmic)",
        "vtm",
        "jpeg",
        "fusion, 10 steps",
    ):
        assert expected_text in text
    assert "Mean over 6 images of formula." in text
    assert "LPIPS (AlexNet)   ↓ better" in texts(tmp_path / "plots" / "lpips_alex.svg")
    assert {"fusion", "5 steps", "10 steps", "50 steps"} <= set(texts(tmp_path / "plots" / "steps-fusion-psnr.svg"))


def test_another_process_gives_the_same_bytes_and_leaves_pyplot_alone(records, tmp_path):
    records.drop(columns=["ms_ssim", "lpips_alex"]).to_csv(tmp_path / "records.csv", index=False)
    code = (
        "import sys; from rdbench.plots import plot_all; plot_all(sys.argv[1], overlays=['compressai-kodak/vtm']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )

    def digests(seed):
        env = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=env, cwd=ROOT)
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / "plots").iterdir()}

    assert digests("1") == digests("2")


def test_a_users_own_settings_change_nothing(records, tmp_path):
    import matplotlib as mpl

    records = records.drop(columns=["ms_ssim", "lpips_alex"])
    before = plot_records(records, tmp_path / "a", formats=["svg"])
    with mpl.rc_context({"font.size": 40, "lines.linewidth": 9, "axes.facecolor": "red"}):
        after = plot_records(records, tmp_path / "b", formats=["svg"])
    assert [file.read_bytes() for file in before] == [file.read_bytes() for file in after]


def test_the_main_plot_shows_the_step_count_nearest_to_ten(drawn):
    for steps, shown in [((5, 20), "fusion, 5 steps"), ((4, 8, 50), "fusion, 8 steps"), ((10, 20), "fusion, 10 steps")]:
        plot_records(make_records({"fusion": (1, 0)}, steps=steps), "unused")
        assert list(drawn["psnr"][0]) == [shown]
    plot_records(make_records({"perco": (1, 0)}, steps=(20,)), "unused")
    assert list(drawn["psnr"][0]) == ["perco"]


def test_step_counts_are_shades_of_their_labels_colour(records, drawn):
    plot_records(records, "unused")
    lines = drawn["steps-fusion-psnr"][0]
    assert list(lines) == ["5 steps", "10 steps", "50 steps"]
    darkness = [sum(int(line.style.colour[i : i + 2], 16) for i in (1, 3, 5)) for line in lines.values()]
    assert all(a > b for a, b in pairwise(darkness))
    assert lines["50 steps"].style.colour == drawn["psnr"][0]["fusion, 10 steps"].style.colour
    assert len({line.style.marker for line in lines.values()}) == 3


def test_a_label_has_one_colour_in_every_plot(records, drawn):
    records.loc[records["label"] == "jpeg", "ms_ssim"] = np.nan
    plot_records(records, "unused")
    assert "jpeg" not in drawn["ms_ssim"][0]
    for metric in ("ms_ssim", "lpips_alex"):
        for name, line in drawn[metric][0].items():
            assert line.style == drawn["psnr"][0][name].style


def test_usual_codecs_keep_their_colour_and_no_two_curves_look_alike():
    few = styles_of({"vtm": "vtm", "mine": "mine"})
    many = styles_of({name: name for name in ["vtm", "jpeg", *(f"codec{i}" for i in range(40))]})
    assert few["vtm"] == many["vtm"]
    assert len({(style.colour, style.marker) for style in many.values()}) == 42
    assert len({style.colour for style in list(styles_of({f"c{i}": f"c{i}" for i in range(12)}).values())}) == 12


def test_curves_average_their_common_images(records, drawn):
    lost = records["label"].eq("jpeg") & records["image"].eq("img03.png") & records["rate"].eq(1)
    records.loc[lost, ["error", "psnr"]] = ["boom", np.nan]
    plot_records(records, "unused")
    lines, footnote = drawn["psnr"]
    assert footnote == "mean over 5 of 6 images of formula"
    rest = records[records["label"].eq("vtm") & records["image"].ne("img03.png")]
    np.testing.assert_allclose(lines["vtm"].quality, rest.groupby("rate")["psnr"].mean())


def test_a_codec_that_has_hardly_begun_does_not_take_the_others_images(records, drawn):
    records = records[~(records["label"].eq("jpeg") & (records["image"] > "img01.png"))]
    plot_records(records, "unused")
    lines, footnote = drawn["psnr"]
    assert footnote == "mean over 6 images of formula; jpeg: 2 images"
    assert len(lines["jpeg"].bpp) == 4


def test_lossless_and_missing_curves_are_in_the_footnote(records, drawn):
    records.loc[records["label"].eq("jpeg") & records["rate"].eq(3), "psnr"] = np.inf
    records.loc[records["label"].eq("vtm"), "error"] = "crashed"
    plot_records(records, "unused")
    lines, footnote = drawn["psnr"]
    assert "jpeg: 1 lossless point not drawn" in footnote
    assert "vtm: no image has a value at every rate" in footnote
    assert len(lines["jpeg"].bpp) == 3


def test_published_curves_are_dashed_and_end_with_the_measured_rates(records, drawn):
    published = [load_published(f"compressai-kodak/{name}", ROOT) for name in ("vtm", "jpeg")]
    plot_records(records, "unused", overlays=published)
    lines, footnote = drawn["psnr"]
    overlay = lines["VTM (CompressAI, Kodak)"]
    assert overlay.style.published
    assert overlay.style.colour == lines["vtm"].style.colour
    assert footnote.endswith("dashed: published")
    low, high = min(line.bpp[0] for line in lines.values()), max(line.bpp[-1] for line in lines.values())
    measured = [line for line in lines.values() if not line.style.published]
    assert low == min(line.bpp[0] for line in measured)
    assert high == max(line.bpp[-1] for line in measured)
    source = published[0].curve("psnr")
    inside = (source.bpp >= low) & (source.bpp <= high)
    np.testing.assert_allclose(overlay.bpp[overlay.marked], source.bpp[inside])
    np.testing.assert_allclose(overlay.quality[overlay.marked], source.quality[inside])
    assert not overlay.marked[-1], "it leaves the range between two of its points"
    last = overlay.quality[overlay.marked][-1]
    assert last < overlay.quality[-1] < source.quality[source.bpp > high][0]
    # CompressAI's files have no LPIPS: nothing published in that plot
    assert not any(line.style.published for line in drawn["lpips_alex"][0].values())


def test_a_published_curve_of_the_same_dataset_is_not_told_apart(records, drawn):
    records["dataset"] = "kodak"
    plot_records(records, "unused", overlays=[load_published("compressai-kodak/hm", ROOT)])
    assert "HM (CompressAI)" in drawn["psnr"][0]


def test_a_published_curve_at_other_rates_is_in_the_footnote(drawn):
    records = make_records({"fusion": (0.001, 0)})
    plot_records(records, "unused", overlays=[load_published("compressai-kodak/vtm", ROOT)])
    lines, footnote = drawn["psnr"]
    assert list(lines) == ["fusion"]
    assert "VTM (CompressAI) has no point at these rates" in footnote


def test_a_wide_range_of_rates_is_logarithmic(tmp_path):
    narrow, wide = make_records({"a": (1, 0)}), make_records({"a": (1, 0), "b": (8, 0)})
    for records, choice, words in [
        (narrow, None, "Rate (bits per pixel)"),
        (wide, None, "Rate (bits per pixel, logarithmic)"),
        (narrow, True, "Rate (bits per pixel, logarithmic)"),
        (wide, False, "Rate (bits per pixel)"),
    ]:
        (file,) = plot_rd(list(all_curves(records).values()), "psnr", tmp_path, log_rate=choice, formats=["svg"])
        assert words in texts(file)


def test_a_curve_far_off_does_not_flatten_the_others(tmp_path):
    records = make_records({"a": (1, 0), "b": (1.1, 0.3), "bad": (1, -60)})
    (file,) = plot_rd(list(all_curves(records).values()), "psnr", tmp_path, formats=["svg"])
    text = texts(file)
    assert any("bad runs off the axis" in line for line in text)
    assert "30" in text
    assert not {"10", "0"} & set(text), "the quality axis keeps to where the others are"


def test_many_curves_are_listed_in_a_legend(tmp_path):
    records = make_records({f"codec number {i}": (1 + 0.05 * i, 0.1 * i) for i in range(24)}, images=2)
    (file,) = plot_rd(list(all_curves(records).values()), "psnr", tmp_path, formats=["svg"])
    assert {f"codec number {i}" for i in range(24)} <= set(texts(file))
    assert 'id="legend_1"' in file.read_text()


def test_a_name_wider_than_the_plot_goes_into_a_wrapped_legend(records, tmp_path):
    name = "a label as long as somebody's whole configuration, written out in words " * 2
    records.loc[records["label"] == records["label"].iloc[0], "label"] = name.strip()
    for file in plot_records(records, tmp_path):
        assert file.stat().st_size > 1000
    lines = texts(tmp_path / "psnr.svg")
    assert any(line.startswith("a label as long as somebody's whole") for line in lines)
    assert not any(len(line) > 60 for line in lines if line.startswith("a label"))


def test_one_point_is_drawn(tmp_path):
    files = plot_records(make_records({"a": (1, 0)}, points=1, images=1), tmp_path, formats=["svg"])
    assert len(files) == 3


def test_nothing_to_draw(records, tmp_path):
    curves = list(all_curves(records).values())
    with pytest.raises(NothingToDrawError, match="nothing to plot: no image has a finite vmaf"):
        plot_rd(curves, "vmaf", tmp_path)
    with pytest.raises(CurveError, match="unknown metric"):
        plot_rd(curves, "pnsr", tmp_path)
    records["error"] = "boom"
    assert plot_records(records, tmp_path) == []


def test_overlays_that_do_not_exist(records, tmp_path):
    records.to_csv(tmp_path / "records.csv", index=False)
    with pytest.raises(InteropError):
        plot_all(tmp_path, overlays=["published/nowhere/vtm"])


def test_a_folder_that_cannot_be_written(records, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DrawError, match="cannot write") as caught:
        plot_records(records, tmp_path / "file" / "plots")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("quality", [30.0, 0.9, 0.00012, -12345.0], ids=str)
def test_the_axis_title_is_never_cut_off(tmp_path, quality):
    records = make_records({"a": (1.0, 0)}, images=3, points=4)
    records["psnr"] = quality * (1 + 0.07 * records["rate"].rank(method="dense") / 4)
    plot_records(records, tmp_path, formats=["png"])
    with Image.open(tmp_path / "psnr.png") as picture:
        edge = np.asarray(picture.convert("L"))[:, :8]
    assert edge.min() > 250, "something touches the left edge"
