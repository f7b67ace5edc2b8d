"""What each figure shows, and that its files are always the same."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import rdpaper.figures
from formula_records import make_records
from rdbench.curves import metric_info
from rdbench.drawing import DrawError, DrawnCurve, Style
from rdpaper.curves import PaperCurves
from rdpaper.drawing import TimeLine, draw_rd, draw_times
from rdpaper.figures import draw_figures

NAMES = ["fig1-psnr", "fig1-ms-ssim", "fig1-lpips", "fig2-ablation", "fig3-lpips", "fig3-psnr", "fig4-time"]


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, by file name: lines by name, or the arguments of the figure over decode time."""
    seen = {}

    def rd(lines, metric, path, **options):
        seen[path.name] = {line.name: line for line in lines}
        return [path]

    def times(*arguments, **options):
        seen[arguments[3].name] = arguments[:3]
        return [arguments[3]]

    monkeypatch.setattr(rdpaper.figures, "draw_rd", rd)
    monkeypatch.setattr(rdpaper.figures, "draw_times", times)
    return seen


def texts(svg):
    """Text is drawn as outlines, with the text itself in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8"))


def line(name, bpp, quality, marker="s"):
    return DrawnCurve(name, np.array(bpp), np.array(quality), Style("#000000", marker), np.ones(len(bpp), bool))


def test_what_the_figures_compare(records, drawn, tmp_path):
    figures = draw_figures(PaperCurves(records), tmp_path)
    assert [figure.name for figure in figures] == NAMES
    whole = {"Ours", "PerCo", "VVC (VTM)", "VVC (vvenc)"}
    for name in NAMES[:3]:
        assert set(drawn[name]) == whole
    assert list(drawn["fig2-ablation"]) == ["Ours", "Ours-AE", "Ours-FE"]
    for name in ("fig3-lpips", "fig3-psnr"):
        assert list(drawn[name]) == ["5 steps", "10 steps", "20 steps", "50 steps"]
    for lines in (drawn[name] for name in NAMES[:-1]):
        assert len({(item.style.marker, item.style.colour) for item in lines.values()}) == len(lines)
        assert len({item.style.marker for item in lines.values()}) == len(lines), "told apart without colour"
    ten = records[(records["label"] == "Ours") & (records["steps"] == 10)].groupby("rate")
    np.testing.assert_allclose(drawn["fig1-psnr"]["Ours"].quality, ten["psnr"].mean())
    np.testing.assert_allclose(drawn["fig2-ablation"]["Ours"].quality, ten["lpips_alex"].mean())
    np.testing.assert_allclose(drawn["fig3-psnr"]["10 steps"].bpp, ten["bpp"].mean())


def test_decode_time_against_quality_at_matched_rates(records, drawn, tmp_path):
    records.loc[records["image"] == "img00.png", "decode_s"] = 1000  # once the machine was busy
    figure = draw_figures(PaperCurves(records), tmp_path)[-1]
    steps, seconds, panels = drawn["fig4-time"]
    assert steps == [5, 10, 20, 50]
    np.testing.assert_allclose(seconds, [1.0, 1.5, 2.5, 5.5])
    assert [metric.name for metric, _ in panels] == ["lpips_alex", "psnr"]
    ours = records[records["label"] == "Ours"]
    for metric, lines in panels:
        expected = ours.groupby(["rate", "steps"])[metric.name].mean().unstack()
        np.testing.assert_allclose([item.quality for item in lines], expected)
        assert [item.name for item in lines] == ["0.062", "0.12", "0.25", "0.50", "1.0"]
        assert len({item.style.marker for item in lines}) == 5
    assert "PSNR: mean over 6 images" in figure.notes


def test_what_is_missing_is_left_out_and_said(records, drawn, tmp_path):
    records = records[~records["label"].isin(["perco", "Ours-AE"]) & (records["steps"] != 20)]
    figures = {
        figure.name: figure for figure in draw_figures(PaperCurves(records.drop(columns="lpips_alex")), tmp_path)
    }
    assert set(drawn["fig1-psnr"]) == {"Ours", "VVC (VTM)", "VVC (vvenc)"}
    assert "'perco' was not measured" in figures["fig1-psnr"].notes
    assert "mean over 6 images of formula" in figures["fig1-psnr"].notes
    assert "'Ours' was not decoded with 20 steps" in figures["fig3-psnr"].notes
    assert figures["fig2-ablation"].files == ()
    assert figures["fig2-ablation"].notes == ("neither LPIPS nor ST-LPIPS was measured",)
    steps, _, panels = drawn["fig4-time"]
    assert steps == [5, 10, 50]
    assert [metric.name for metric, _ in panels] == ["psnr"]


def test_figures_that_cannot_be_drawn_any_more_are_removed(drawn, tmp_path):
    for name in ("fig2-ablation.svg", "fig4-time.png", "mine.svg"):
        (tmp_path / name).write_text("old")
    figures = {figure.name: figure for figure in draw_figures(PaperCurves(make_records({"vtm": (1, 0)})), tmp_path)}
    assert set(drawn) == {"fig1-psnr", "fig1-ms-ssim", "fig1-lpips"}
    assert [file.name for file in tmp_path.iterdir()] == ["mine.svg"]
    assert figures["fig2-ablation"].notes[0] == "'Ours' was not measured"
    assert "it takes two step counts" in figures["fig4-time"].notes


def test_no_time_figure_without_times_or_common_images(records, drawn, tmp_path):
    records.loc[records["steps"] == 50, "decode_s"] = np.nan
    figure = draw_figures(PaperCurves(records), tmp_path)[-1]
    assert figure.files == ()
    assert figure.notes == ("the decode time of Ours, 50 steps is not known",)
    records["decode_s"] = 1.0
    records = records[~((records["label"] == "Ours") & (records["image"] < "img03.png") & (records["steps"] == 50))]
    records = records[~((records["label"] == "Ours") & (records["image"] > "img02.png") & (records["steps"] != 50))]
    figure = draw_figures(PaperCurves(records), tmp_path)[-1]
    assert figure.notes == ("the step counts have no image and rate with psnr in common",)


def test_a_column_wide_in_every_format(tmp_path):
    lines = [line("Ours", [0.02, 0.1, 0.2], [20, 24, 27]), line("VVC", [0.01, 0.1, 0.8], [20, 28, 36], "o")]
    files = draw_rd(lines, metric_info("psnr"), tmp_path / "rd", focus=["Ours"])
    assert [file.name for file in files] == ["rd.svg", "rd.pdf", "rd.png"]
    assert Image.open(files[2]).width == round(3.4 * 300)
    assert files[1].read_bytes().startswith(b"%PDF")
    text = texts(files[0])
    assert {"PSNR (dB) ↑", "Bits per pixel", "Ours", "VVC"} <= set(text)
    numbers = [float(label) for label in text if re.fullmatch(r"0\.\d+", label)]
    assert 0.15 <= max(numbers) <= 0.21, "the axis ends with our rates"
    wide = draw_rd(lines, metric_info("lpips_alex"), tmp_path / "wide", formats=["svg"])
    assert {"LPIPS (AlexNet) ↓", "Bits per pixel (logarithmic)"} <= set(texts(wide[0]))


def test_differences_to_a_reference_at_the_same_rates(tmp_path):
    bpp = [0.02, 0.1, 0.2]
    lines = [
        line("5 steps", bpp, [20, 24, 27]),
        line("10 steps", bpp, [20, 25, 29], "o"),
        line("other", [0.03, 0.1, 0.2], [20, 25, 29], "^"),
    ]
    both = draw_rd(lines, metric_info("psnr"), tmp_path / "a", reference="10 steps", formats=["svg", "png"])
    assert "Δ to 10 steps (dB)" in texts(both[0])
    assert both[0].read_text().count('id="axes_') == 2
    one = draw_rd(lines[1:], metric_info("psnr"), tmp_path / "b", reference="10 steps", formats=["svg", "png"])
    assert one[0].read_text().count('id="axes_') == 1
    assert Image.open(both[1]).height > Image.open(one[1]).height


def test_a_single_point_is_drawn(tmp_path):
    assert draw_rd([line("one", [0.1], [30])], metric_info("psnr"), tmp_path / "one", formats=["png"])


def test_the_time_figure_names_the_step_counts(tmp_path):
    lines = [TimeLine("0.10", np.array([20.0, 24, 25]), Style("#000000", "s"))]
    panels = [(metric_info("lpips_alex"), lines), (metric_info("psnr"), lines)]
    seconds = np.array([1.0, 2, 10])
    (file,) = draw_times([5, 10, 50], seconds, panels, tmp_path / "time", marked=10, formats=["svg"])
    expected = {"5", "10", "50", "Denoising steps", "Decode time (s, logarithmic)", "PSNR (dB) ↑", "0.10"}
    assert expected <= set(texts(file))


_CODE = """
import sys
from pathlib import Path
import numpy as np
from rdbench.curves import metric_info
from rdbench.drawing import DrawnCurve, Style
from rdpaper.drawing import TimeLine, draw_rd, draw_times
folder, style = Path(sys.argv[1]), Style("#0072B2", "o")
x = np.array([0.1, 0.2, 0.4])
draw_rd([DrawnCurve("a", x, 30 + x, style, x > 0)], metric_info("psnr"), folder / "rd")
draw_times([5, 10, 20], x, [(metric_info("psnr"), [TimeLine("a", x, style)])], folder / "time", marked=10)
assert "matplotlib.pyplot" not in sys.modules
"""


def test_another_process_gives_the_same_bytes(tmp_path):
    def digests(seed):
        folder = tmp_path / seed
        env = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", _CODE, str(folder)], check=True, env=env)
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}

    first = digests("1")
    assert len(first) == 6
    assert first == digests("2")


def test_a_users_own_settings_change_nothing(tmp_path):
    import matplotlib as mpl

    curves = [line("a", [0.1, 0.2], [30, 31])]
    before = draw_rd(curves, metric_info("psnr"), tmp_path / "a", formats=["svg"])
    with mpl.rc_context({"font.size": 40, "lines.linewidth": 9, "axes.facecolor": "red"}):
        after = draw_rd(curves, metric_info("psnr"), tmp_path / "b", formats=["svg"])
    assert before[0].read_bytes() == after[0].read_bytes()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DrawError, match="cannot write") as caught:
        draw_rd([line("a", [0.1, 0.2], [30, 31])], metric_info("psnr"), tmp_path / "file" / "a", formats=["svg"])
    assert "\n" not in str(caught.value)
