"""Decoded pictures of any colour model and depth become 8-bit sRGB. The rules stand in docs/datasets.md."""

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageCms
from PIL.Image import Image as Picture
from PIL.Image import Transpose, fromarray, frombytes
from PIL.ImageFile import ImageFile

from rdbench.datasets.base import ImageError
from rdbench.datasets.cicp import Cicp, to_srgb_levels
from rdcodecs import Image

_TURN = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""EXIF orientation → the transposition that undoes it (Exif 2.32, tag 0x0112)."""

_COLOUR_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
"""Pillow mode → the ICC colour space signature of a profile that fits it."""


_PHOTOMETRIC, _BITS, _PLANAR = 262, 258, 284
"""TIFF 6.0 tags: PhotometricInterpretation, BitsPerSample, PlanarConfiguration."""


def to_srgb(picture: ImageFile, reopen: Callable[[], ImageFile], tags: Cicp | None = None) -> Image:
    """Decode an opened picture and convert it to 8-bit sRGB.

    In this order: 16 bits to 8 (rounded), palette and transparency resolved, embedded ICC profile to sRGB,
    composited over white, gray replicated, EXIF orientation applied. Where code points say what the colours are, they
    count in place of the profile, and samples of 16 bits are rounded only after the conversion.

    Args:
        picture: a picture that has been opened but not loaded (only its first frame is used).
        reopen: opens the same picture once more: the low bytes of 16-bit colour need a second pass.
        tags: the code points that decide its colours, see `colour_tags`.

    Returns:
        uint8, shape (H, W, 3), sRGB.

    Raises:
        ImageError: floating-point, signed or 32-bit samples, a colour model such as CIELAB, or HDR. The message
            gives the reason only: the caller knows the name.
        Exception: whatever Pillow raises on damaged data.
    """
    if tags is not None:
        tags.check()
    shallow, is_srgb = _eight_bits(picture, reopen, tags)
    colours, alpha = _split_alpha(shallow)
    if tags is None:
        colours = _apply_profile(colours, picture.info.get("icc_profile"))
    elif not is_srgb:
        colours = _by_tags(colours, tags)
    if alpha is not None:
        colours = fromarray(_over_white(np.asarray(colours.convert("RGB")), np.asarray(alpha)))
    turn = _TURN.get(_orientation(picture))
    if turn is not None:
        colours = colours.transpose(turn)
    return np.array(colours.convert("RGB"))  # a copy: Pillow's own buffer is read-only


def _orientation(picture: ImageFile) -> int:
    # A JPEG XL codestream carries its own orientation and is decoded upright, its Exif is to be ignored
    # (ISO/IEC 18181-2); the exception is a transcoded JPEG, which the plugin hands over as the JPEG it was.
    if picture.format == "JXL" and not getattr(picture, "jpeg", False):
        return 1
    orientation = picture.getexif().get(0x0112, 1)
    return orientation if isinstance(orientation, int) else 1


def _split_alpha(picture: Picture) -> tuple[Picture, Picture | None]:
    """Resolve palettes and transparency: a picture of mode L, RGB or CMYK, and its alpha where it has one."""
    if picture.has_transparency_data:
        gray = picture.mode in ("1", "L", "LA", "La")
        whole = picture.convert("LA" if gray else "RGBA")
        return (whole.getchannel("L") if gray else whole.convert("RGB")), whole.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture, None
    if picture.mode == "1":
        return picture.convert("L"), None
    if picture.mode in ("P", "RGBX", "YCbCr"):
        return picture.convert("RGB"), None
    raise ImageError(f"colour model {picture.mode} is not supported: save it as RGB")


def nearest_level(dividend: npt.NDArray[Any], divisor: int) -> npt.NDArray[np.uint8]:
    """Divide whole numbers, rounded to the nearest 8-bit level, halves up: exact, without floating point.

    Args:
        dividend: unsigned, at most 255 times the divisor; its type has room for half a divisor more.
        divisor: positive.
    """
    return ((dividend + divisor // 2) // divisor).astype(np.uint8)


def _over_white(colours: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Composite (H, W, 3) over white by (H, W) alpha: round((c·a + 255·(255 - a)) / 255), exactly."""
    weight = alpha[..., None].astype(np.uint16)
    # At most 255·255 and half a divisor, which 16 bits hold.
    return nearest_level(colours * weight + 255 * (255 - weight), 255)


def _apply_profile(picture: Picture, profile: bytes | None) -> Picture:
    """Convert to sRGB by the embedded profile; leave alone what is sRGB already or has no usable profile."""
    if not profile:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _COLOUR_SPACE[picture.mode]:
            return picture
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            picture.mode,
            "RGB",
            # Otherwise lcms interpolates in a coarse table: off by up to 10 levels for linear gray.
            flags=ImageCms.Flags.NOOPTIMIZE,
        )
        if _moves_nothing(transform, picture.mode):
            return picture
        converted = ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError):  # a damaged profile is ignored, as browsers do
        return picture
    return picture if converted is None else converted


def _moves_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform moves no colour by more than one level, as from the many variants of sRGB itself.

    Such a profile names sRGB: the file's own values are then kept exactly, not rounded a second time.
    """
    if mode == "CMYK":
        return False
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        expected = probe[..., None]
    else:
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        expected = probe
    moved = ImageCms.applyTransform(fromarray(probe), transform)
    return bool(np.abs(np.asarray(moved, dtype=np.int16) - expected).max() <= 1)


def _by_tags(picture: Picture, tags: Cicp) -> Picture:
    """Convert a picture of mode L or RGB to sRGB."""
    samples = np.asarray(picture)
    levels = to_srgb_levels(samples.reshape(*samples.shape[:2], -1), 255, tags)
    return fromarray(levels.reshape(samples.shape))


def _eight_bits(picture: ImageFile, reopen: Callable[[], ImageFile], tags: Cicp | None = None) -> tuple[Picture, bool]:
    """Return the picture with 8-bit samples, and whether `tags` have been applied to it.

    Samples of 16 bits are rounded, round(v / 257), unless they are converted by `tags` first.
    """
    raw = _raw_mode(picture)
    tiff = getattr(picture, "tag_v2", {})
    if picture.mode.startswith("I;16"):
        full = 4095 if raw == "I;12" else 65535
        samples = np.asarray(picture)[..., None]
        # Pillow turns 8-bit samples round where a TIFF says that zero is white, but not 16-bit ones.
        if tiff.get(_PHOTOMETRIC) == 0:
            samples = full - samples
        return _reduce(samples, full, picture.info.get("transparency"), tags=tags), True
    if picture.mode == "I" and picture.format == "PPM":  # scaled to 16 bits by Pillow, whatever its maximum
        return _reduce(np.asarray(picture)[..., None]), True
    if picture.mode in ("I", "F"):
        raise ImageError("signed, 32-bit or floating-point samples have no defined white: save it with 8 or 16 bits")
    if tiff.get(_PLANAR) == 2 and 16 in tiff.get(_BITS, ()):
        raise ImageError("16-bit colour in separate planes is not supported: save it interleaved")
    if raw.endswith((";16B", ";16L", ";16N")):
        return _deep_colour(picture, raw, reopen, tags), True
    picture.load()
    return picture, False


def _deep_colour(picture: ImageFile, raw: str, reopen: Callable[[], ImageFile], tags: Cicp | None) -> Picture:
    """Reduce 16-bit colour.

    Pillow has no 16-bit colour modes and would keep the high bytes, which truncates. Decoding once more with
    the byte order turned round keeps the low bytes instead; together they are the samples.
    """
    if raw.startswith("RGBa"):
        raise ImageError("16-bit premultiplied alpha is not supported: save straight alpha")
    if raw == "LA;16B":  # cannot be turned round, but its four bytes per pixel can be had as if they were RGBA
        pixels = np.asarray(_with_raw_mode(picture, "RGBA")).astype(np.uint16)
        return _reduce(pixels[..., 0::2] << 8 | pixels[..., 1::2], tags=tags)
    order = raw[-1].replace("N", "L" if sys.byteorder == "little" else "B")
    with reopen() as second:
        low = np.asarray(_with_raw_mode(second, raw[:-1] + {"B": "L", "L": "B"}[order]))
    high = np.asarray(picture).astype(np.uint16)
    transparent = picture.info.get("transparency")
    return _reduce(high << 8 | low, transparent=transparent, cmyk=picture.mode == "CMYK", tags=tags)


def _raw_mode(picture: ImageFile) -> str:
    """How Pillow will unpack the samples, e.g. "RGB;16B"; empty where the plugin does not say."""
    args = picture.tile[0][3] if picture.tile else None
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _with_raw_mode(picture: ImageFile, raw: str) -> Picture:
    picture.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *(tile.args or ())[1:]))
        for tile in picture.tile
    ]
    return picture


def _reduce(
    samples: npt.NDArray[Any],
    full: int = 65535,
    transparent: Any = None,
    *,
    cmyk: bool = False,
    tags: Cicp | None = None,
) -> Picture:
    """Round (H, W, C) samples of 0..`full` to 8 bits; the `transparent` colour (PNG tRNS) gets alpha 0.

    With `tags` the colours, which are gray or RGB, are converted to sRGB on the way.
    """
    wide = samples.astype(np.uint32)
    levels = nearest_level(wide * 255, full)
    if tags is not None:
        colours = samples.shape[2] - (samples.shape[2] + 1) % 2
        levels[..., :colours] = to_srgb_levels(wide[..., :colours], full, tags)
    if transparent is not None:
        opaque = np.any(wide != np.asarray(transparent, dtype=np.uint32), axis=-1, keepdims=True)
        levels = np.concatenate([levels, opaque * np.uint8(255)], axis=-1)
    height, width, bands = levels.shape
    mode = "CMYK" if cmyk else ("L", "LA", "RGB", "RGBA")[bands - 1]
    return frombytes(mode, (width, height), levels.tobytes())
