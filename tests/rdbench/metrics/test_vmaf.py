import re
import subprocess

import numpy as np
import PIL.Image
import pytest

from rdbench.errors import BenchError
from rdbench.metrics import MetricUnavailableError, vmaf
from rdbench.metrics.vmaf import VMAF
from rdcodecs import MissingDependencyError
from rdcodecs.ffmpeg import find_ffmpeg


@pytest.mark.parametrize("size", [(192, 240), (101, 133)])
def test_agrees_with_ffmpeg_reading_files(photo, jpeg, tmp_path, size):
    """Another way to the same number: ffmpeg reads two PNG files and converts the colours itself."""
    original = np.ascontiguousarray(photo[: size[0], : size[1]])
    distorted = jpeg(original, 20)
    for name, image in (("original", original), ("distorted", distorted)):
        PIL.Image.fromarray(image).save(tmp_path / f"{name}.png")
    convert = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int,format=yuv444p"
    graph = f"[0:v]{convert}[a];[1:v]{convert}[b];[a][b]libvmaf=model=version={vmaf.MODEL}"
    ffmpeg = find_ffmpeg(filters=["libvmaf"])
    inputs = ["-i", "distorted.png", "-i", "original.png"]
    command = [ffmpeg, *inputs, "-filter_complex", graph, "-f", "null", "-"]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    theirs = float(re.search(r"VMAF score: ([\d.]+)", output)[1])
    assert VMAF()(original, distorted) == pytest.approx(theirs, abs=0.1)


def test_reference_and_image_are_not_mixed_up(photo):
    """Added detail (a sharper image) scores higher than lost detail, and VMAF is not symmetric."""
    rows = photo.astype(np.float32)
    blurred = np.rint((np.roll(rows, 1, 1) + rows + np.roll(rows, -1, 1)) / 3).astype(np.uint8)
    assert VMAF()(blurred, photo) > VMAF()(photo, blurred) + 10


@pytest.mark.parametrize(
    ("rgb", "luma"),
    [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 63), ((0, 255, 0), 173), ((0, 0, 255), 32)],
)
def test_frame_is_limited_range_bt709(rgb, luma):
    """The luma codes of ITU-R BT.709's primaries; chroma neutral; odd sizes rounded up."""
    frame = np.frombuffer(vmaf._frame(np.full((17, 19, 3), rgb, np.uint8)), np.uint8)
    assert len(frame) == 17 * 19 + 2 * 9 * 10
    assert set(frame[: 17 * 19]) == {luma}
    assert set(frame[17 * 19 :]) == {128}


def test_chroma_has_no_part_in_it():
    """A known blind spot, documented: two colours of equal luma are the same to VMAF."""
    red, green = np.full((64, 64, 3), (200, 60, 60), np.uint8), np.full((64, 64, 3), (60, 102, 60), np.uint8)
    red[::2, ::2], green[::2, ::2] = 0, 0
    assert vmaf._frame(red) == vmaf._frame(green)


def test_no_ffmpeg_with_libvmaf(monkeypatch):
    def nowhere(**wanted):
        raise MissingDependencyError("no ffmpeg with filter libvmaf: there is no ffmpeg at all")

    monkeypatch.setattr(vmaf, "find_ffmpeg", nowhere)
    with pytest.raises(MetricUnavailableError, match="no ffmpeg with filter libvmaf"):
        VMAF().check()


def test_ffmpeg_that_fails(monkeypatch, photo):
    monkeypatch.setattr(vmaf, "_GRAPH", "[0:v]libvmaf=model=version=no_such_model")
    with pytest.raises(BenchError, match=r"^vmaf: ffmpeg\S* failed with exit status \d+: "):
        VMAF()(photo, photo)


def test_ffmpeg_that_gives_no_score(monkeypatch, photo):
    monkeypatch.setattr(vmaf, "_GRAPH", "[0:v]null")
    with pytest.raises(BenchError, match=r"^vmaf: ffmpeg gave no score: "):
        VMAF()(photo, photo)


def test_fingerprint_names_model_and_ffmpeg():
    fingerprint = VMAF().fingerprint()
    assert fingerprint["model"] == "vmaf_v0.6.1"
    assert fingerprint["ffmpeg"]
