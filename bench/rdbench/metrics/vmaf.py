"""VMAF of a still image, by libvmaf inside ffmpeg."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.errors import BenchError
from rdbench.metrics.base import Metric, MetricUnavailableError
from rdcodecs import Image, MissingDependencyError
from rdcodecs.ffmpeg import ffmpeg_version, find_ffmpeg
from rdcodecs.process import ProgramError, informative_line, run_program, workspace

MODEL = "vmaf_v0.6.1"

_TIMEOUT = 600.0
# Both pictures come as two frames of one raw file; every filter and codec runs on one thread.
_GRAPH = (
    "[0:v]split=2[first][second];"
    "[first]trim=end_frame=1[reference];"
    "[second]trim=start_frame=1,setpts=PTS-STARTPTS[image];"
    f"[image][reference]libvmaf=model=version={MODEL}:n_threads=1"
)
_LUMA = np.array([0.2126, 0.7152, 0.0722]) * 219 / 255  # BT.709 weights, full to limited range


class VMAF(Metric):
    """VMAF with libvmaf's default model, on 8-bit limited-range BT.709 luma; chroma has no part in it.

    A still image has no motion, so even identical images get 97.43, not 100. The model was trained on 1080p
    video seen from three screen heights; small images score high.
    """

    name: ClassVar[str] = "vmaf"
    title: ClassVar[str] = "VMAF"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    min_side: ClassVar[int] = 33
    source: ClassVar[str] = f"Netflix VMAF, model {MODEL}"

    def check(self) -> None:
        """Raise `MetricUnavailableError` if there is no ffmpeg with libvmaf."""
        _ffmpeg()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the model, ffmpeg's version, which stands for libvmaf's, and what the model is shown."""
        return {"model": MODEL, "ffmpeg": ffmpeg_version(_ffmpeg()), "luma": "BT.709, 8 bits, limited range"}

    def prepare(self, reference: Image) -> bytes:
        """Return the reference as a raw frame; libvmaf offers no way to keep more."""
        return _frame(reference)

    def score(self, prepared: bytes, image: Image) -> float:
        """Return the VMAF score, 0 to 100.

        Raises:
            BenchError: ffmpeg failed.
        """
        height, width = image.shape[:2]
        with workspace("vmaf") as folder:
            frames = folder / "frames.yuv"
            frames.write_bytes(prepared + _frame(image))
            command: list[str | Path] = [
                _ffmpeg(), "-hide_banner", "-nostdin", "-nostats",
                "-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "1",
                "-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", f"{width}x{height}",
                "-i", frames, "-filter_complex", _GRAPH, "-f", "null", "-",
            ]  # fmt: skip
            try:
                output = run_program(command, timeout=_TIMEOUT)
            except ProgramError as error:
                raise BenchError(f"vmaf: {error}") from error
        found = re.search(r"VMAF score: (\d+\.\d+)", output)
        if found is None:
            raise BenchError(f"vmaf: ffmpeg gave no score: {informative_line(output)}")
        return float(found[1])


def _ffmpeg() -> Path:
    try:
        return find_ffmpeg(filters=["libvmaf"])
    except MissingDependencyError as error:
        raise MetricUnavailableError(str(error)) from error


def _frame(image: Image) -> bytes:
    """Return the image's luma as a raw 4:2:0 frame with neutral chroma, which the model does not look at."""
    height, width = image.shape[:2]
    luma: npt.NDArray[np.uint8] = np.rint(image @ _LUMA + 16).astype(np.uint8)
    chroma_size = 2 * ((height + 1) // 2) * ((width + 1) // 2)
    return luma.tobytes() + b"\x80" * int(chroma_size)
