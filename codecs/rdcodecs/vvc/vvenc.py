"""VVC by VVenC, Fraunhofer HHI's fast encoder, through an ffmpeg that was built with it."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rdcodecs.codec import (
    Codec,
    CodecError,
    EncodeError,
    Image,
    MissingDependencyError,
    OptionError,
    RateSpec,
    StreamError,
    as_image,
)
from rdcodecs.ffmpeg import ffmpeg_version, find_ffmpeg
from rdcodecs.process import ProgramError, ProgramTimeoutError, informative_line, run_program, workspace
from rdcodecs.vvc import yuv
from rdcodecs.vvc.bitstream import mark_odd, read_info
from rdcodecs.vvc.common import DECODED_BITS, check_timeout, decoded_image, refuse_decode_options

PRESETS = ("faster", "fast", "medium", "slow", "slower")

_CHROMA = 420
_PEAK = 2**DECODED_BITS - 1
_PIXEL_FORMAT = "yuv420p10le"
# Bytes that a decoder of one still picture has no use for.
_PARAMETERS = "AccessUnitDelimiter=0:VuiParametersPresent=0:HRDParametersPresent=0"


class VVenC(Codec):
    """libvvenc and the VVC decoder of ffmpeg.

    This is not VTM: another encoder, whose intra QP is offset by -3 from the one it is given, and 4:2:0 only.
    It works on 10-bit BT.709 full-range YCbCr, with its perceptual adaptation of the QP off, in one thread.
    The ffmpeg is the one inside the package imageio-ffmpeg, or else the one on PATH.

    The stream is the encoder's file as it is; with an odd side it is 6 bytes longer (see
    `rdcodecs.vvc.bitstream`). ffmpeg gives libvvenc room for 8 bits per pixel, which noise or a very small
    image exceeds at the lowest QPs: that is an `EncodeError`, which says so.

    Args:
        preset: faster, fast, medium, slow or slower.
        timeout: seconds that one run of the encoder or decoder may take.

    Raises:
        OptionError: a value out of range.
    """

    name: ClassVar[str] = "vvenc"
    rate: ClassVar[RateSpec] = RateSpec("QP", 0, 63, higher_is_larger=False)

    def __init__(self, *, preset: str = "medium", timeout: float = 3600) -> None:
        if preset not in PRESETS:
            raise OptionError(f"vvenc: preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        self._preset = preset
        self._timeout = check_timeout(self.name, timeout)

    def check(self) -> None:
        """Raise `MissingDependencyError` where no ffmpeg has libvvenc and a VVC decoder."""
        _find()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the versions of libvvenc and of the conversion, and the preset."""
        return {
            "codec": self.name,
            "encoder": _encoder_version(_find()),
            "preset": self._preset,
            "conversion": yuv.VERSION,
        }

    def encode(self, image: Image, rate: float) -> bytes:
        """Compress an image at QP `rate`. See `Codec.encode`."""
        qp = int(self.rate.validate(rate))
        image = as_image(image)
        height, width = image.shape[:2]
        ffmpeg = _find()
        with workspace(self.name) as folder:
            try:
                data, _ = _run_encoder(
                    ffmpeg, folder, yuv.pad_to_even(image), qp=qp, preset=self._preset, timeout=self._timeout
                )
            except ProgramTimeoutError as error:
                raise EncodeError(f"vvenc: {error}") from error
            except ProgramError as error:
                hint = "it has room for 8 bits per pixel: try a higher QP" if "submitting" in str(error) else ""
                raise EncodeError(f"vvenc: {error}" + (f" ({hint})" if hint else "")) from error
        if not data:
            raise EncodeError("vvenc: ffmpeg wrote no stream")
        return mark_odd(data, odd_width=bool(width % 2), odd_height=bool(height % 2))

    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress a stream made by `encode`. See `Codec.decode`."""
        refuse_decode_options(self.name, options)
        info = read_info(data)
        if info.chroma != _CHROMA:
            raise StreamError(f"not a stream of vvenc: its chroma format is {info.chroma}, not 420")
        ffmpeg = _find()
        with workspace(self.name) as folder:
            source, target = folder / "in.266", folder / "out.yuv"
            source.write_bytes(data)
            command: list[str | Path] = [
                ffmpeg, "-hide_banner", "-nostdin", "-v", "error", "-threads", "1", "-f", "vvc", "-i", source,
                # One picture is wanted; a second tells that there are more.
                "-frames:v", "2", "-f", "rawvideo", "-pix_fmt", _PIXEL_FORMAT, target,
            ]  # fmt: skip
            try:
                complaints = run_program(command, timeout=self._timeout)
            except ProgramTimeoutError as error:
                raise CodecError(f"vvenc: {error}") from error
            except ProgramError as error:
                raise StreamError(f"vvenc: the stream cannot be decoded: {error}") from error
            # A stream that lacks its last byte leaves a damaged picture, a complaint and exit status 0.
            if complaints.strip():
                raise StreamError(f"vvenc: the stream is damaged: {informative_line(complaints)}")
            return decoded_image(self.name, target, info, peak=_PEAK)


def _find() -> Path:
    try:
        return find_ffmpeg(encoders=["libvvenc"], decoders=["vvc"])
    except MissingDependencyError as error:
        raise MissingDependencyError(f"vvenc: {error}") from error


def _run_encoder(
    ffmpeg: Path, folder: Path, image: Image, *, qp: int, preset: str, timeout: float
) -> tuple[bytes, str]:
    """Return the stream of an image with even sides, and what ffmpeg said meanwhile."""
    source, target = folder / "in.yuv", folder / "out.266"
    source.write_bytes(yuv.image_to_yuv(image, chroma=_CHROMA, bits=DECODED_BITS))
    command: list[str | Path] = [
        ffmpeg, "-hide_banner", "-nostdin", "-v", "info",
        "-f", "rawvideo", "-pix_fmt", _PIXEL_FORMAT, "-s", f"{image.shape[1]}x{image.shape[0]}", "-r", "1",
        "-i", source, "-frames:v", "1", "-c:v", "libvvenc", "-threads", "1", "-preset", preset,
        "-qp", str(qp), "-qpa", "0", "-vvenc-params", _PARAMETERS, "-f", "vvc", target,
    ]  # fmt: skip
    output = run_program(command, timeout=timeout)
    return (target.read_bytes() if target.exists() else b""), output


@functools.cache
def _encoder_version(ffmpeg: Path) -> str:
    """Return "libvvenc 1.15.0" or the like, which the encoder says at work, or else ffmpeg's version."""
    with workspace("vvenc") as folder:
        gray = np.full((64, 64, 3), 128, np.uint8)
        try:
            _, output = _run_encoder(ffmpeg, folder, gray, qp=63, preset="faster", timeout=60)
        except ProgramError as error:
            raise MissingDependencyError(f"vvenc: {error}") from error
    match = re.search(r"libvvenc version: (\S+)", output)
    return f"libvvenc {match[1]}" if match else f"libvvenc of ffmpeg {ffmpeg_version(ffmpeg)}"
