"""What is in report.html: figures from the records and nothing else, names as text, pictures where they are kept."""

import base64
import io
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage
from rich.console import Console

from formula_records import make_records
from hostile_results import HOSTILE, IMAGE, LABEL, quiet, said
from rdbench.cli import main
from rdbench.curves import CurveError
from rdbench.report import ReportError, write_report


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def read(page: Path, name: str = "data") -> Any:
    """Return the JSON that the page carries."""
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page.read_text(), re.DOTALL)
    assert match is not None
    return json.loads(match[1], parse_constant=_refuse)


def written(frame: pd.DataFrame, folder: Path, console: Console | None = None, **options: Any) -> Path:
    """Write records and their report."""
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / "records.csv", index=False)
    return write_report(folder, console or quiet(), **options)


class Text(HTMLParser):
    """Collects the elements of a page, and its text outside of scripts and styles."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._raw = ""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._raw:
            self._raw = ""

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data


@pytest.fixture(scope="module")
def page(measured: Path) -> Path:
    return write_report(measured, quiet())


def test_the_same_folder_gives_the_same_file(page: Path, measured: Path) -> None:
    before = page.read_bytes()
    assert write_report(measured, quiet()).read_bytes() == before
    assert len(before) < 15_000_000


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    for tag, attributes in Text(page).tags:
        for name in ("src", "href", "srcset", "action"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), f"<{tag} {name}={address}>"


def test_names_are_text(page: Path) -> None:
    found = Text(page)
    assert not [attributes for tag, attributes in found.tags if tag == "img" and "onerror" in attributes]
    assert found.text.count(HOSTILE) >= 2, "description and error"
    assert HOSTILE not in page.read_text()
    ours = [attributes for tag, attributes in found.tags if tag == "script"]
    assert len(ours) == 9, "two of data, the plotting library, six of the page's own"


def test_curves_are_the_means_of_the_records(page: Path, measured: Path) -> None:
    records = pd.read_csv(measured / "records.csv")
    mine = records[(records["label"] == "base")]
    means = mine.groupby("rate")[["bpp", "psnr", "bytes", "decode_s"]].mean().sort_values("bpp")
    (line,) = [each for each in read(page)["curves"]["charts"]["psnr"]["lines"] if each["curve"] == "base"]
    assert line["bpp"] == pytest.approx(means["bpp"].tolist(), rel=1e-6)
    assert line["quality"] == pytest.approx(means["psnr"].tolist(), rel=1e-6)
    assert line["bytes"] == pytest.approx(means["bytes"].tolist(), rel=1e-6)
    assert line["decode_s"] == pytest.approx(means["decode_s"].tolist(), rel=1e-5)
    assert line["rate"] == [f"{rate:g}" for rate in means.index]
    assert line["images"] == 3
    assert line["command"] == "rdbench run shown --codec base --rates"


def test_bd_figures_are_written_as_the_terminal_writes_them(
    page: Path, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "base", "scratched", "--results", str(measured)]) == 0
    printed = capsys.readouterr().out
    figures = re.findall(r"[-+][\d.]+ %|[-+][\d.]+ to [-+][\d.]+|\b\d+%|\b\d/\d\b", printed)
    assert len(figures) >= 6
    text = Text(page).text
    for figure in figures:
        assert figure in text


def test_every_row_is_in_the_table_of_images(page: Path, measured: Path) -> None:
    records = pd.read_csv(measured / "records.csv")
    table = read(page)["images"]
    assert sum(len(curve["image"]) for curve in table["curves"]) == len(records)
    assert [image["name"] for image in table["images"]] == ["1.png", IMAGE, "3.png"]
    assert table["images"][0]["size"] == "420\u00d7300"
    curve = next(curve for curve in table["curves"] if curve["name"] == "scratched")
    failed = [i for i, error in enumerate(curve["error"]) if error]
    assert len(failed) == 3
    assert {curve["rate"][i] for i in failed} == {16.0}
    assert all(curve["psnr"][i] is None for i in failed)


def test_failures_are_listed_with_their_error(page: Path) -> None:
    text = Text(page).text
    assert f"RuntimeError: {HOSTILE}" in text
    assert f"1.png at 16, {IMAGE} at 16, 3.png at 16" in text


def test_steps_are_means_at_equal_images(tmp_path: Path) -> None:
    records = make_records({"fusion": (1.0, 0.0), "vvenc": (1.0, 1.0)}, steps=(5, 10, 50), images=4)
    records.loc[records["label"] == "vvenc", "steps"] = np.nan
    records = records.drop_duplicates(["label", "image", "rate", "steps"])
    lost = (records["image"] == "img00.png") & (records["steps"] == 50) & (records["rate"] == 1)
    records.loc[lost, ["psnr", "ms_ssim", "lpips_alex"]] = np.nan
    records.loc[lost, "error"] = "broke"
    page = written(records, tmp_path / "r")
    (codec,) = read(page)["steps"]
    assert (codec["name"], codec["steps"]) == ("fusion", [5, 10, 50])
    lines = codec["metrics"]["psnr"]
    assert [line["images"] for line in lines] == [4, 3, 4, 4]
    assert lines[0]["decode_s"] == pytest.approx([1.0, 1.5, 5.5])
    kept = records[(records["rate"] == 1) & (records["label"] == "fusion") & (records["image"] != "img00.png")]
    assert lines[1]["quality"] == pytest.approx(kept.groupby("steps")["psnr"].mean().tolist())
    assert 'id="steps"' in page.read_text()


def test_without_step_counts_there_is_no_such_section(tmp_path: Path) -> None:
    page = written(make_records({"a": (1.0, 0.0), "b": (0.8, 0.0)}), tmp_path / "r")
    assert read(page)["steps"] == []
    assert 'id="steps"' not in page.read_text()
    assert 'href="#steps"' not in page.read_text()


def test_records_alone_are_enough(tmp_path: Path) -> None:
    console = quiet()
    page = written(make_records({"a": (1.0, 0.0), "b": (0.8, 0.0)}), tmp_path / "alone", console)
    text = Text(page).text
    assert "no pictures: the run kept no reconstructions" in said(console)
    assert "rdbench run EXPERIMENT --keep --force" in text
    assert "the experiment names no anchor: choose one with --anchor LABEL" in text
    assert "no provenance.json beside these records" in text
    assert "<title>alone: rate-distortion report</title>" in page.read_text()


def test_the_anchor_can_be_chosen(tmp_path: Path) -> None:
    records = make_records({"a": (1.0, 0.0), "b": (0.8, 0.0)})
    assert "-20.00 %" in Text(written(records, tmp_path / "r", anchor="a")).text
    assert "+25.00 %" in Text(written(records, tmp_path / "r", anchor="b")).text
    page = (tmp_path / "r" / "report.html").read_bytes()
    with pytest.raises(CurveError, match="unknown curve 'aa': did you mean 'a'"):
        written(records, tmp_path / "r", anchor="aa")
    assert (tmp_path / "r" / "report.html").read_bytes() == page


def test_how_much_of_the_plan_is_measured_stands_at_the_top(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    records = make_records({"a": (1.0, 0.0), "b": (0.8, 0.0)}, images=6)
    records.loc[(records["label"] == "b") & (records["image"] == "img00.png"), "error"] = "boom"
    points = [[rate, "{}"] for rate in range(4)]
    images = {f"img{i:02d}.png": f"hash{i}" for i in range(6)}
    plan = {"dataset": {"images": images}, "tables": {label: {"points": points} for label in ("a", "b", "vtm")}}
    (folder / "provenance.json").write_text(json.dumps(plan))
    assert "44 of 72 planned cells; not complete: b, vtm" in Text(written(records, folder)).text
    (folder / "provenance.json").write_text(json.dumps(plan | {"tables": {"a": {"points": points}}}))
    assert "all planned cells" in Text(written(records, folder)).text
    (folder / "provenance.json").write_text(json.dumps(plan | {"tables": {"a": {"points": "many"}}}))
    assert "planned cells" not in Text(written(records, folder)).text


def test_published_curves_are_drawn_as_such(tmp_path: Path) -> None:
    records = make_records({"vtm": (1.0, 5.0)})
    page = written(records, tmp_path / "r", overlays=["published/compressai-kodak/vtm", "published/none"])
    data = read(page)["curves"]
    (look,) = [look for look in data["looks"] if look["published"]]
    assert (look["name"], look["symbol"]) == ("VTM (CompressAI, Kodak)", "circle-open")
    assert look["colour"] == data["looks"][0]["colour"]
    (line,) = [line for line in data["charts"]["psnr"]["lines"] if line["curve"] == look["name"]]
    assert 1 < sum(line["marked"]) < len(line["marked"]), "the ends lie between the table's points"


def test_lossless_points_and_missing_values_are_no_harm(tmp_path: Path) -> None:
    records = make_records({"a": (1.0, 0.0), "b": (0.8, 0.0)})
    records.loc[(records["label"] == "a") & (records["rate"] == 3), "psnr"] = np.inf
    records.loc[records["label"] == "b", "lpips_alex"] = np.nan
    data = read(written(records, tmp_path / "r", anchor="a"))
    assert [len(line["bpp"]) for line in data["curves"]["charts"]["psnr"]["lines"]] == [3, 4]
    assert "lossless points not drawn" in data["curves"]["charts"]["psnr"]["note"].replace("point ", "points ")
    assert "inf" in data["images"]["curves"][0]["psnr"]


def picture(page: Path, number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    uri = read(page, "picture-data")[number]
    return np.asarray(PILImage.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_crops_are_the_pixels_that_were_decoded_where_codecs_differ_most(page: Path, measured: Path) -> None:
    gallery = read(page)["gallery"]
    assert {scene["image"] for scene in gallery} == {"1.png", IMAGE, "3.png"}
    scene = next(scene for scene in gallery if scene["image"] == "1.png")
    left, top, width, height = scene["box"]
    assert (left + width, top + height) == (420, 300), "the scratch is at the lower right"
    for level in scene["levels"]:
        for shot in level["shots"]:
            assert 0.8 <= shot["bpp"] / level["bpp"] <= 1.25
            if shot["curve"] == "scratched":
                [file] = (measured / "reconstructions").glob(f"scratched-*/1@{shot['rate'].split()[1]}-*.png")
                whole = np.asarray(PILImage.open(file))
                assert np.array_equal(picture(page, shot["picture"]), whole[top:, left:])


def _images(results: Path) -> Path:
    return Path(json.loads((results / "provenance.json").read_text())["experiment"]["dataset"].partition(":")[2])


def _elsewhere(results: Path) -> Path:
    """Give the results a copy of the images, and return that folder."""
    file = results / "provenance.json"
    copy = Path(shutil.copytree(_images(results), results.parent / "images"))
    file.write_text(file.read_text().replace(str(_images(results)), str(copy)))
    return copy


def test_a_reconstruction_that_is_not_the_one_measured_is_not_shown(results: Path) -> None:
    for file in (results / "reconstructions").glob("scratched-*/1@*.png"):
        PILImage.new("RGB", (420, 300)).save(file)
    page = write_report(results, quiet())
    scene = next(scene for scene in read(page)["gallery"] if scene["image"] == "1.png")
    assert "scratched" not in {shot["curve"] for level in scene["levels"] for shot in level["shots"]}
    assert "1.png, scratched: the reconstruction kept is not the one that was measured" in Text(page).text


def test_another_image_of_that_name_is_not_shown(results: Path) -> None:
    images = _elsewhere(results)
    PILImage.new("RGB", (420, 300)).save(images / "1.png")
    page = write_report(results, quiet())
    assert "1.png" not in {scene["image"] for scene in read(page)["gallery"]}
    assert "1.png is not the image that was measured" in Text(page).text


def test_originals_that_are_gone_are_no_error(results: Path) -> None:
    shutil.rmtree(_elsewhere(results))
    console = quiet()
    page = write_report(results, console)
    assert read(page)["gallery"] == []
    assert "no pictures: the originals cannot be read" in said(console)


def test_pictures_stay_within_the_budget(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdbench.report import pictures

    everything = read(write_report(results, quiet()), "picture-data")
    monkeypatch.setattr(pictures, "BUDGET", sum(len(uri) for uri in everything) // 3)
    some = read(write_report(results, quiet()), "picture-data")
    assert 0 < len(some) < len(everything)
    assert sum(len(uri) for uri in some) <= 4 / 3 * pictures.BUDGET + 30 * len(some)


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_missing_package_is_said(results: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in (package, f"{package}.offline"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ReportError, match=rf"needs the package {package}: pip install 'rdbench\[report\]'"):
        write_report(results, quiet())


def test_the_command_writes_every_folder(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    written(make_records({LABEL: (1.0, 0.0)}), other)
    (other / "report.html").unlink()
    assert main(["report", str(results), str(other)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(f"report: {other / 'report.html'} (")]
    assert (other / "report.html").is_file()
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "run the experiment first" in capsys.readouterr().err
    (results / "report.html").unlink()
    (results / "report.html").mkdir()
    assert main(["report", str(results)]) == 1
    assert f"cannot write '{results / 'report.html'}'" in capsys.readouterr().err
