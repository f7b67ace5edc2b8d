"""The still-image formats that Pillow and its plugins write: JPEG, WebP, AVIF, JPEG 2000, HEIC, JPEG XL.

What is counted is a real file, in a form that any reader of the format opens. It carries nothing but the
picture: no ICC profile, EXIF, XMP, comment or thumbnail. JPEG 2000 and JPEG XL files are bare codestreams,
since their containers would only cost bytes; AVIF and HEIC exist in a container only, which costs them about
280 and 380 bytes. Encoders and decoders run in one thread, so that neither a time nor a file depends on the
machine's cores.

None of these formats has a checksum. A truncated file is always noticed, but a damaged one may decode to a
damaged picture: of single flipped bits, JPEG 2000, WebP and JPEG notice a third at most, JPEG XL nine in ten.
"""

import importlib
import importlib.metadata
import math
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import PIL
import PIL.AvifImagePlugin
import PIL.Image
import PIL.ImageFile
from PIL import features

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
    check_pixels,
)
from rdcodecs.stated_size import jxl_size, webp_size

_SUBSAMPLING = {420: "4:2:0", 444: "4:4:4"}
_X265_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium"),
    *("slow", "slower", "veryslow", "placebo"),
)
_JPEG_MAX_BYTES_PER_PIXEL = 5  # 4:4:4 noise at quality 100 takes 4.1

_Setting = tuple[str, str, int | None]
"""A module, a global in it, and the value it shall have for a moment."""
_READING: tuple[_Setting, ...] = (
    ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", False),
    ("PIL.Image", "MAX_IMAGE_PIXELS", None),  # `rdcodecs.codec.max_pixels` is the limit: an error, never a warning
)
_SETTINGS_LOCK = threading.RLock()


class _PillowCodec(Codec):
    """What the six formats share: one Pillow call each way, checks around it, and the fingerprint."""

    _format: ClassVar[str]
    """Pillow's name of the format, also used in messages."""
    _install: ClassVar[str] = "pip install --upgrade pillow"
    """The command that brings what `_load` looks for."""
    _decode_settings: ClassVar[tuple[_Setting, ...]] = ()
    """Module globals that decide the decoder's threads: the plugins offer no other way."""
    _end_marker: ClassVar[bytes] = b""
    """What a whole file ends with, where the reader does not insist on it."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    @abstractmethod
    def _load(self) -> Mapping[str, str | None]:
        """Import what the codec needs; return the version of each library, None for one that is lacking."""

    @abstractmethod
    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        """Return the arguments of Pillow's `save` for a valid rate."""

    def _strip(self, data: bytes) -> bytes:
        """Take out what Pillow cannot be told to leave out."""
        return data

    def _while_encoding(self, pixels: int) -> AbstractContextManager[None]:
        """Return a context to encode an image of so many pixels in."""
        return nullcontext()

    def _stated_size(self, data: bytes) -> tuple[int, int] | None:
        """Return the (width, height) that a file says, where opening it takes memory for the whole picture at once."""
        return None

    def check(self) -> None:
        """Raise `MissingDependencyError` if a package, or the codec's part of Pillow, is not installed."""
        self._versions()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the codec's name, the versions of Pillow and the libraries under it, and the options."""
        return {"codec": self.name, "pillow": PIL.__version__} | self._versions() | {"options": self._options}

    def encode(self, image: Image, rate: float) -> bytes:
        """Compress an image: see `Codec.encode`."""
        rate = self.rate.validate(rate)
        picture = PIL.Image.fromarray(as_image(image))
        self.check()
        file = BytesIO()
        try:
            with self._while_encoding(picture.width * picture.height):
                picture.save(file, format=self._format, **self._save_arguments(rate))
        except Exception as error:
            size = f"{picture.width}x{picture.height}"
            raise EncodeError(f"codec '{self.name}' cannot encode this {size} image: {_reason(error)}") from error
        return self._strip(file.getvalue())

    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress a file: see `Codec.decode`. There are no decode options.

        The picture must be RGB, as `encode` writes it, and no larger than `rdcodecs.codec.max_pixels`.
        """
        if options:
            raise OptionError(f"codec '{self.name}' has no decode options, so no '{next(iter(options))}'")
        self.check()
        if not data.endswith(self._end_marker):
            raise StreamError(f"not a whole {self._format} file: its end marker is missing")
        try:
            with _module_globals(*_READING, *self._decode_settings):
                self._check_size(self._stated_size(data))
                picture = PIL.Image.open(BytesIO(data), formats=[self._format])
                self._check_size(picture.size)
                return _pixels(picture)
        except CodecError:
            raise
        except PIL.UnidentifiedImageError as error:
            raise StreamError(f"not a {self._format} file, or one with a damaged header") from error
        except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
            raise StreamError(f"not a whole {self._format} file: {_reason(error)}") from error

    def _check_size(self, size: tuple[int, int] | None) -> None:
        if size is not None:
            check_pixels(*size, StreamError, f"the {self._format} file's picture")

    def _versions(self) -> dict[str, str]:
        PIL.Image.init()  # else the first encode's time has the import of all of Pillow's plugins in it
        try:
            versions = self._load()
        except ImportError as error:
            raise MissingDependencyError(f"codec '{self.name}': {error}: {self._install}") from error
        for library, version in versions.items():
            if version is None:
                raise MissingDependencyError(f"codec '{self.name}': no {library} here: {self._install}")
        return {library: version for library, version in versions.items() if version is not None}


class JPEG(_PillowCodec):
    """JPEG by libjpeg-turbo.

    The rate is libjpeg's quality, 1 to 100, which scales the quantization tables of the standard's Annex K. A
    photograph takes 0.1 bpp at the least: below quality 3 nearly every quantizer step is clipped at 255.

    Args:
        subsampling: 420 (Pillow's default) or 444.
        progressive: write progressive scans, a few percent smaller for large files.
        optimize: Huffman tables made for the image instead of those of Annex K: a fifth fewer bits at quality
            10, 4 % at 50.
    """

    name = "jpeg"
    rate = RateSpec("quality", 1, 100)
    _format = "JPEG"

    def __init__(self, *, subsampling: int = 420, progressive: bool = False, optimize: bool = True) -> None:
        super().__init__(
            subsampling=_one_of(self.name, "subsampling", subsampling, tuple(_SUBSAMPLING)),
            progressive=_one_of(self.name, "progressive", progressive, (False, True)),
            optimize=_one_of(self.name, "optimize", optimize, (False, True)),
        )

    def _load(self) -> Mapping[str, str | None]:
        turbo = features.version("libjpeg_turbo")
        return {"libjpeg-turbo": turbo} if turbo else {"libjpeg": features.version("jpg")}

    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        return {
            "quality": int(rate),
            "subsampling": _SUBSAMPLING[self._options["subsampling"]],
            "progressive": self._options["progressive"],
            "optimize": self._options["optimize"],
        }

    def _while_encoding(self, pixels: int) -> AbstractContextManager[None]:
        # Optimized and progressive files must fit Pillow's buffer in one piece, and its guess of 8 bits a
        # pixel is too small for noise: Pillow would fail with "broken data stream".
        size = max(PIL.ImageFile.MAXBLOCK, pixels * _JPEG_MAX_BYTES_PER_PIXEL)
        return _module_globals(("PIL.ImageFile", "MAXBLOCK", size))


class WebP(_PillowCodec):
    """Lossy WebP (VP8, always 4:2:0) by libwebp.

    The rate is libwebp's quality, 0 to 100, fractions allowed: from 0 to 1 the file grows by a third.

    Args:
        method: 0 (fast) to 6 (best compression). The default, 6, is the best that WebP can do; Pillow's is 4.
    """

    name = "webp"
    rate = RateSpec("quality", 0, 100, integer=False)
    _format = "WEBP"

    def __init__(self, *, method: int = 6) -> None:
        super().__init__(method=_one_of(self.name, "method", method, range(7)))

    def _load(self) -> Mapping[str, str | None]:
        return {"libwebp": features.version("webp")}

    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        return {"quality": float(rate), "method": self._options["method"]}

    def _stated_size(self, data: bytes) -> tuple[int, int] | None:
        return webp_size(data)


class AVIF(_PillowCodec):
    """AVIF (AV1 still picture, 8 bits, one tile) by libavif and libaom.

    The rate is libavif's quality, 0 to 99 (100 would be libaom's lossless mode, which "iq" does not have).

    Args:
        subsampling: 420 (Pillow's default) or 444.
        speed: 0 (slowest) to 10. The default, 6, is Pillow's; 4 saves some 7 % of the bits at six times the
            time, 2 some 11 % at fifteen times.
        tune: what libaom optimizes for: "iq" (libavif's own default for still pictures, and by far the best
            MS-SSIM), "ssim" or "psnr". The coarsest "iq" takes half as many bits again as the coarsest of the
            others, whose curves therefore start at a lower rate.
    """

    name = "avif"
    rate = RateSpec("quality", 0, 99)
    _format = "AVIF"
    _decode_settings = (("PIL.AvifImagePlugin", "DEFAULT_MAX_THREADS", 1),)

    def __init__(self, *, subsampling: int = 420, speed: int = 6, tune: str = "iq") -> None:
        super().__init__(
            subsampling=_one_of(self.name, "subsampling", subsampling, tuple(_SUBSAMPLING)),
            speed=_one_of(self.name, "speed", speed, range(11)),
            tune=_one_of(self.name, "tune", tune, ("iq", "ssim", "psnr")),
        )

    def _load(self) -> Mapping[str, str | None]:
        if not features.check("avif"):
            return {"libavif": None}
        return {"libavif": features.version("avif"), "libaom": PIL.AvifImagePlugin.get_codec_version("aom")}

    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        return {
            "quality": int(rate),
            "subsampling": _SUBSAMPLING[self._options["subsampling"]],
            "speed": self._options["speed"],
            "codec": "aom",
            "max_threads": 1,
            "autotiling": False,
            "advanced": {"tune": self._options["tune"]},
        }


class JPEG2000(_PillowCodec):
    """JPEG 2000 (irreversible 9/7 wavelet, one tile) by OpenJPEG.

    The rate is a target in bpp: 24 over the compression ratio that OpenJPEG is asked for. The file meets it
    to within some 100 bytes, but has 140 bytes of headers at the least. OpenJPEG's other mode, a PSNR target,
    gives each image the same curve, but a data set a worse one: at 0.2 bpp the mean PSNR over Kodak is 1.6 dB
    lower, since the images that gain least from bits then get the most.
    """

    name = "jpeg2000"
    rate = RateSpec("bpp", 0.01, 16, integer=False)
    _format = "JPEG2000"
    _end_marker = b"\xff\xd9"  # EOC; a main header alone would be read as an empty picture

    def __init__(self) -> None:
        super().__init__()

    def _load(self) -> Mapping[str, str | None]:
        return {"openjpeg": features.version("jpg_2000")}

    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        return {
            "quality_mode": "rates",
            "quality_layers": [24 / rate],
            "irreversible": True,
            "mct": 1,
            "no_jp2": True,
        }

    def _strip(self, data: bytes) -> bytes:
        # OpenJPEG signs its files in a comment (COM) segment of the main header: 39 bytes, 6 % of a file of
        # 0.02 bpp at 512x512. Nothing in a codestream points across the main header, so it can go.
        kept, at = data[:2], 2
        while (marker := data[at : at + 2]) != b"\xff\x90":  # SOT, the first tile
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            kept += data[at:end] if marker != b"\xff\x64" else b""
            at = end
        return kept + data[at:]


class HEIC(_PillowCodec):
    """HEIC (HEVC still picture, 8 bits) by libheif and x265, read by libde265; needs `pillow-heif`.

    The rate is libheif's quality, 0 to 100, which is x265's CRF from 50 to 0 in half steps. libheif's
    perceptual settings stay (tune ssim, psycho-visual optimization, adaptive quantization): without them
    MS-SSIM is worse, and PSNR hardly better, at equal rate.

    Args:
        subsampling: 420 (libheif's default) or 444.
        preset: x265's, "ultrafast" to "placebo". The default, "slow", is libheif's.
    """

    name = "heic"
    rate = RateSpec("quality", 0, 100)
    _format = "HEIF"
    _install = 'pip install "rdbench[codecs]"'
    _decode_settings = (("pillow_heif.options", "DECODE_THREADS", 1),)

    def __init__(self, *, subsampling: int = 420, preset: str = "slow") -> None:
        super().__init__(
            subsampling=_one_of(self.name, "subsampling", subsampling, tuple(_SUBSAMPLING)),
            preset=_one_of(self.name, "preset", preset, _X265_PRESETS),
        )

    def _load(self) -> Mapping[str, str | None]:
        import pillow_heif

        pillow_heif.register_heif_opener()
        libraries = pillow_heif.libheif_info()
        return {
            "pillow-heif": pillow_heif.__version__,
            "libheif": libraries["libheif"],
            "HEVC encoder": libraries["HEIF"] or None,
            "HEVC decoder": next(iter(libraries["decoders"].values()), None),
        }

    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        return {
            "quality": int(rate),
            "chroma": self._options["subsampling"],
            "enc_params": {
                "preset": self._options["preset"],
                # Left alone, x265 takes one thread per core, and wavefronts, which change the file, if it can.
                "x265:pools": "none",
                "x265:frame-threads": "1",
                "x265:wpp": "0",
            },
        }


class JXL(_PillowCodec):
    """JPEG XL (lossy VarDCT) by libjxl; needs `pillow-jxl-plugin`.

    The rate is the Butteraugli distance, 0.2 to 25, fractions allowed; 1 is meant to be visually lossless. 25
    is the coarsest that libjxl takes: 0.1 to 0.2 bpp for a photograph. From distance 10 on libjxl codes the
    picture at half its size, where files from 10 to about 13 are both larger and worse than that of 9.9: keep
    a curve out of there.

    Args:
        effort: 1 (fast) to 9 (best compression). The default, 7, is libjxl's; 8 and 9 save some 2 % at four
            times the time and more.
    """

    name = "jxl"
    rate = RateSpec("distance", 0.2, 25, integer=False, higher_is_larger=False)
    _format = "JXL"
    _install = 'pip install "rdbench[codecs]"'
    _decode_settings = (("pillow_jxl.JpegXLImagePlugin", "DECODE_THREADS", 1),)

    def __init__(self, *, effort: int = 7) -> None:
        super().__init__(effort=_one_of(self.name, "effort", effort, range(1, 10)))

    def _load(self) -> Mapping[str, str | None]:
        import pillow_jxl  # noqa: F401 - registers itself with Pillow

        # The plugin does not say which libjxl it was built with: its own version stands for both.
        return {"pillow-jxl-plugin": importlib.metadata.version("pillow-jxl-plugin")}

    def _save_arguments(self, rate: float) -> Mapping[str, Any]:
        return {"quality": _jxl_quality(rate), "effort": self._options["effort"], "num_threads": 1}

    def _stated_size(self, data: bytes) -> tuple[int, int] | None:
        return jxl_size(data)


def _jxl_quality(distance: float) -> float:
    """Return the quality that libjxl's `JxlEncoderDistanceFromQuality` maps to `distance`.

    The plugin takes a quality only. libjxl's map (lib/jxl/encode.cc) is linear from quality 100 (distance
    0.1) to 30 (6.4), and below that 53/3000 q^2 - 23/20 q + 25, 25 at quality 0. This is its inverse.
    """
    if distance <= 6.4:
        return 100 - (distance - 0.1) / 0.09
    a, b, c = 53 / 3000, -23 / 20, 25 - distance
    return max(0.0, (-b - math.sqrt(b * b - 4 * a * c)) / (2 * a))


def _one_of(codec: str, option: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return `value` if it is one of `allowed` and of their type (1 is not True), or raise `OptionError`."""
    if type(value) is type(allowed[0]) and value in allowed:
        return value
    if isinstance(allowed, range):
        wanted = f"a whole number from {allowed[0]} to {allowed[-1]}"
    else:
        wanted = "one of " + ", ".join(map(repr, allowed))
    raise OptionError(f"codec '{codec}': {option} must be {wanted}, not {value!r}")


@contextmanager
def _module_globals(*settings: _Setting) -> Iterator[None]:
    """Set module globals, for what can be set in no other way, and put back what they were.

    Threads take turns here: for parallel decoding use processes.
    """
    with ExitStack() as undo:
        undo.enter_context(_SETTINGS_LOCK)
        for module_name, name, value in settings:
            module = importlib.import_module(module_name)
            undo.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def _pixels(picture: PIL.Image.Image) -> Image:
    """Read an opened picture, once its mode is seen to be acceptable."""
    if picture.mode != "RGB":
        raise ValueError(f"a picture of mode {picture.mode}, not RGB")
    return np.array(picture)


def _reason(error: Exception) -> str:
    """Return the first sentence of an error, or else its type."""
    return str(error).partition("\n")[0].partition(". ")[0].strip() or type(error).__name__
