"""VVC by its reference software, the VVC Test Model (VTM), in the all-intra configuration."""

import functools
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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
from rdcodecs.process import ProgramError, ProgramTimeoutError, run_program, workspace
from rdcodecs.vvc import yuv
from rdcodecs.vvc.bitstream import mark_odd, read_info
from rdcodecs.vvc.common import DECODED_BITS, check_timeout, decoded_image, refuse_decode_options

_FOLDER_VARIABLE = "RDBENCH_VTM_DIR"
_CONFIG_NAME = "encoder_intra_vtm.cfg"
_HOW_TO_GET = (
    "build VTM 19.2 or later from https://vcgit.hhi.fraunhofer.de/jvet/VVCSoftware_VTM "
    f"and set {_FOLDER_VARIABLE} to the folder of its binaries"
)
# VTM's makefile leaves its binaries in bin/umake/gcc-12.2/x86_64/release: the source tree is five up.
_LEVELS_TO_CONFIG = 6
# VTM extends 8 bits to 10 by a shift: decoded samples are four times those of the input.
_PEAK = 255 * 4


@dataclass(frozen=True)
class _Installation:
    encoder: Path
    decoder: Path
    config: Path


class VTM(Codec):
    """The VTM encoder and decoder, run as programs.

    The encoder gets 8-bit BT.709 full-range YCbCr and works at 10 bits, as in the published VTM curves of
    CompressAI and of papers that follow it. The binaries (EncoderApp and DecoderApp, or EncoderAppStatic and
    DecoderAppStatic) and VTM's encoder_intra_vtm.cfg are looked for in and around the folder that the
    environment variable RDBENCH_VTM_DIR names, or else the folder where PATH has them.

    The stream is the encoder's file as it is; for `chroma` 420 and an odd side it is 6 bytes longer (see
    `rdcodecs.vvc.bitstream`).

    Args:
        chroma: 444, or 420 for half-resolution chroma.
        timeout: seconds that one run of the encoder or decoder may take.

    Raises:
        OptionError: a value out of range.
    """

    name: ClassVar[str] = "vtm"
    rate: ClassVar[RateSpec] = RateSpec("QP", 0, 63, higher_is_larger=False)

    def __init__(self, *, chroma: int = 444, timeout: float = 3600) -> None:
        if str(chroma) not in map(str, yuv.CHROMA_FORMATS):
            raise OptionError(f"vtm: chroma must be 444 or 420, not {chroma!r}")
        self._chroma = int(chroma)
        self._timeout = check_timeout(self.name, timeout)

    def check(self) -> None:
        """Raise `MissingDependencyError` where VTM is not found or does not run."""
        _version(_find().encoder)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the versions of VTM and of the conversion, the configuration's hash, the chroma format."""
        found = _find()
        return {
            "codec": self.name,
            "encoder": _version(found.encoder),
            "config_sha256": hashlib.sha256(found.config.read_bytes()).hexdigest(),
            "chroma": self._chroma,
            "conversion": yuv.VERSION,
        }

    def encode(self, image: Image, rate: float) -> bytes:
        """Compress an image at QP `rate`. See `Codec.encode`."""
        qp = int(self.rate.validate(rate))
        image = as_image(image)
        height, width = image.shape[:2]
        odd_width = odd_height = False
        if self._chroma == 420:
            # VTM pads 4:4:4 itself and aborts on odd sides in 4:2:0.
            odd_width, odd_height = bool(width % 2), bool(height % 2)
            image = yuv.pad_to_even(image)
        found = _find()
        with workspace(self.name) as folder:
            source, target = folder / "in.yuv", folder / "out.266"
            source.write_bytes(yuv.image_to_yuv(image, chroma=self._chroma, bits=8))
            command: list[str | Path] = [
                found.encoder, "-c", found.config, "-i", source, "-b", target, "-q", str(qp),
                "-wdt", str(image.shape[1]), "-hgt", str(image.shape[0]), "-fr", "1", "-f", "1",
                f"--InputChromaFormat={self._chroma}", "--InputBitDepth=8",
                f"--InternalBitDepth={DECODED_BITS}", "--ConformanceWindowMode=1",
                "--ReconFile=",  # or else it leaves a rec.yuv in the working directory
            ]  # fmt: skip
            try:
                run_program(command, timeout=self._timeout)
            except ProgramError as error:
                raise EncodeError(f"vtm: {error}") from error
            data = target.read_bytes() if target.exists() else b""
        if not data:
            raise EncodeError(f"vtm: {found.encoder.name} wrote no stream")
        return mark_odd(data, odd_width=odd_width, odd_height=odd_height)

    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress a stream made by `encode`. See `Codec.decode`."""
        refuse_decode_options(self.name, options)
        info = read_info(data)
        if info.chroma not in yuv.CHROMA_FORMATS:
            raise StreamError(f"vtm: the stream's chroma format {info.chroma} is neither 444 nor 420")
        found = _find()
        with workspace(self.name) as folder:
            source, target = folder / "in.266", folder / "out.yuv"
            source.write_bytes(data)
            try:
                run_program([found.decoder, "-b", source, "-o", target, "-d", "0"], timeout=self._timeout)
            except ProgramTimeoutError as error:
                raise CodecError(f"vtm: {error}") from error
            except ProgramError as error:
                raise StreamError(f"vtm: the stream cannot be decoded: {error}") from error
            return decoded_image(self.name, target, info, peak=_PEAK)


def _find() -> _Installation:
    """Return where VTM's files are, or raise `MissingDependencyError`."""
    named = os.environ.get(_FOLDER_VARIABLE)
    if named:
        root = Path(named).expanduser().absolute()
        where = f"{_FOLDER_VARIABLE}={named}"
        folders = [root, root / "bin", *sorted(root.glob("bin/umake/*/*/release"))]
    else:
        where = "PATH"
        folders = [Path(folder) for folder in os.get_exec_path() if folder]
    encoder = _program("EncoderApp", folders, where)
    decoder = _program("DecoderApp", folders, where)
    # The binary may be a link into a build tree, with the configuration there.
    starts = dict.fromkeys([encoder.parent, encoder.resolve().parent])
    for start in starts:
        for folder in [start, *start.parents][:_LEVELS_TO_CONFIG]:
            for config in (folder / _CONFIG_NAME, folder / "cfg" / _CONFIG_NAME):
                if config.is_file():
                    return _Installation(encoder, decoder, config)
    raise MissingDependencyError(
        f"vtm: no {_CONFIG_NAME} in or above {encoder.parent}: copy it there from the cfg folder of VTM"
    )


def _program(name: str, folders: list[Path], where: str) -> Path:
    path = os.pathsep.join(map(str, folders))
    for candidate in (name, f"{name}Static"):
        found = shutil.which(candidate, path=path)
        if found:
            return Path(found).absolute()
    raise MissingDependencyError(f"vtm: neither {name} nor {name}Static in {where}: {_HOW_TO_GET}")


@functools.cache
def _version(encoder: Path) -> str:
    """Return "VTM 19.2" or the like from the encoder's banner; its compiler and CPU change no bit."""
    try:
        banner = run_program([encoder, "--help"], timeout=60, any_status=True)
    except ProgramError as error:
        raise MissingDependencyError(f"vtm: {error}: {_HOW_TO_GET}") from error
    match = re.search(r"VTM Encoder Version (\S+)", banner)
    if match is None:
        raise MissingDependencyError(f"vtm: {encoder} does not name a VTM version: {_HOW_TO_GET}")
    return f"VTM {match[1]}"
