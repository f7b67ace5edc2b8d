"""8-bit sRGB images to and from planar YCbCr samples: BT.709 matrix, full range, 4:4:4 or 4:2:0.

The matrix is that of Rec. ITU-R BT.709-6, section 3; the sample values are those of ITU-T H.273, section
8.3, with video_full_range_flag 1: Y = round(P * E'y) and C = round(P * E'c) + 2^(bits - 1), P being the peak
value, usually 2^bits - 1. Each direction rounds exactly once. Chroma of 4:2:0 sits in the middle of its four
luma samples (H.273 Chroma420SampleLocType 1, as in JPEG): the mean of a 2x2 block on the way down, bilinear
interpolation with the weights 9, 3, 3, 1 (/16) and replicated edges on the way up.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from rdcodecs.codec import Image

VERSION: Final = 1
"""Raised whenever a change here alters a sample: it is part of the codecs' fingerprints."""

CHROMA_FORMATS: Final = (444, 420)

_KR, _KB = 0.2126, 0.0722
_KG = 1.0 - _KR - _KB

_Plane = npt.NDArray[np.float64]


def image_to_yuv(image: Image, *, chroma: int, bits: int) -> bytes:
    """Convert an image to a raw planar file: Y, Cb, Cr, row by row.

    Args:
        image: uint8, shape (H, W, 3), sRGB. For 4:2:0 both sides must be even: see `pad_to_even`.
        chroma: 444 or 420.
        bits: bits a sample, 8 (one byte each) or more (two bytes each, little-endian, value in the low bits).

    Returns:
        The samples, `yuv_size` bytes.
    """
    red, green, blue = (image[..., channel] / 255.0 for channel in range(3))
    luma = _KR * red + _KG * green + _KB * blue
    cb = (blue - luma) / (2.0 * (1.0 - _KB))
    cr = (red - luma) / (2.0 * (1.0 - _KR))
    if chroma == 420:
        cb, cr = _halve(cb), _halve(cr)
    peak, middle = 2**bits - 1, 2 ** (bits - 1)
    planes = (peak * luma, peak * cb + middle, peak * cr + middle)
    sample = _sample_type(bits)
    # A pure blue or red lands half a step above the range, hence the clip.
    return b"".join(np.clip(np.rint(plane), 0, peak).astype(sample).tobytes() for plane in planes)


def yuv_to_image(data: bytes, width: int, height: int, *, chroma: int, bits: int, peak: float | None = None) -> Image:
    """Convert a raw planar file of one picture back to an image.

    Args:
        data: the samples, laid out as by `image_to_yuv`.
        width: of the luma plane, in pixels (even for 4:2:0).
        height: of the luma plane, in pixels (even for 4:2:0).
        chroma: 444 or 420.
        bits: bits a sample.
        peak: the sample value of white, 2^bits - 1 unless given. A codec that extends 8-bit input to 10 bits
            by shifting has 1020 there.

    Returns:
        uint8, shape (height, width, 3), sRGB.

    Raises:
        ValueError: `data` is not of the length that the size asks for.
    """
    check_length(len(data), width, height, chroma=chroma, bits=bits)
    if peak is None:
        peak = 2**bits - 1
    middle = 2 ** (bits - 1)
    samples = np.frombuffer(data, _sample_type(bits)).astype(np.float64)
    luma, chroma_samples = np.split(samples, [width * height])
    luma = luma.reshape(height, width) / peak
    planes = (chroma_samples.reshape(2, *_chroma_shape(width, height, chroma)) - middle) / peak
    cb, cr = (_double(plane) for plane in planes) if chroma == 420 else planes
    red = luma + 2.0 * (1.0 - _KR) * cr
    blue = luma + 2.0 * (1.0 - _KB) * cb
    green = (luma - _KR * red - _KB * blue) / _KG
    rgb = np.stack([red, green, blue], axis=-1)
    return np.clip(np.rint(255.0 * rgb), 0, 255).astype(np.uint8)


def yuv_size(width: int, height: int, *, chroma: int, bits: int) -> int:
    """Return the length in bytes of one picture's samples."""
    rows, columns = _chroma_shape(width, height, chroma)
    return (width * height + 2 * rows * columns) * _sample_type(bits).itemsize


def check_length(length: int, width: int, height: int, *, chroma: int, bits: int) -> None:
    """Raise `ValueError` where so many bytes are not the samples of exactly one picture."""
    expected = yuv_size(width, height, chroma=chroma, bits=bits)
    if length != expected:
        raise ValueError(f"a {width}x{height} picture has {expected} bytes of samples, not {length}")


def pad_to_even(image: Image) -> Image:
    """Repeat the last column and row of an image where its width or height is odd."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _sample_type(bits: int) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
    return np.dtype("u1") if bits == 8 else np.dtype("<u2")


def _chroma_shape(width: int, height: int, chroma: int) -> tuple[int, int]:
    if chroma not in CHROMA_FORMATS:
        raise ValueError(f"chroma format {chroma} is neither 444 nor 420")
    if chroma == 444:
        return height, width
    if width % 2 or height % 2:
        raise ValueError(f"4:2:0 needs even sides, not {width}x{height}")
    return height // 2, width // 2


def _halve(plane: _Plane) -> _Plane:
    height, width = plane.shape
    blocks = plane.reshape(height // 2, 2, width // 2, 2)
    mean: _Plane = blocks.mean(axis=(1, 3))
    return mean


def _double(plane: _Plane) -> _Plane:
    return _double_rows(_double_rows(plane).T).T


def _double_rows(plane: _Plane) -> _Plane:
    padded = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
    doubled = np.empty((2 * plane.shape[0], plane.shape[1]))
    doubled[0::2] = 0.75 * plane + 0.25 * padded[:-2]
    doubled[1::2] = 0.75 * plane + 0.25 * padded[2:]
    return doubled
