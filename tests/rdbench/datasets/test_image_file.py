"""Every kind of image file becomes the 8-bit sRGB image that docs/datasets.md promises."""

import hashlib
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import tifffile
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from rdbench.datasets import ImageError
from rdbench.datasets.image_file import ImageFile, read_image

RNG = np.random.default_rng(7)
COLOUR = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
GRAY = COLOUR[..., 0]
ALPHA = RNG.integers(0, 256, (24, 40), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (24, 40, 4), dtype=np.uint16)


def reduced(samples: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    return np.rint(samples / 257).astype(np.uint8)


def over_white(colour: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    share = alpha[..., None] / 255
    # No product is a tie, but floating point can make one look like it: hence the nudge.
    return np.floor(colour * share + 255 * (1 - share) + 0.5 + 1e-9).astype(np.uint8)


def save(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def png16(path: Path, samples: npt.NDArray[np.uint16], extra: bytes = b"") -> Path:
    """Write a 16-bit PNG (Pillow writes gray ones only)."""
    samples = samples.reshape(*samples.shape[:2], -1)
    height, width, bands = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


# ---- colour models


def test_rgb_is_returned_as_it_is(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", Image.fromarray(COLOUR)))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_array_equal(image, COLOUR)


def test_gray_is_replicated(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", Image.fromarray(GRAY)))
    np.testing.assert_array_equal(image, np.repeat(GRAY[..., None], 3, axis=-1))


def test_black_and_white(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", Image.fromarray(GRAY > 100)))
    np.testing.assert_array_equal(image, np.repeat(np.where(GRAY > 100, 255, 0)[..., None], 3, axis=-1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_composited_over_white(tmp_path: Path, suffix: str) -> None:
    rgba = np.dstack([COLOUR, ALPHA])
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(rgba)))
    np.testing.assert_array_equal(image, over_white(COLOUR, ALPHA))


def test_gray_alpha_is_composited_over_white(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", Image.fromarray(np.dstack([GRAY, ALPHA]))))
    np.testing.assert_array_equal(image, over_white(np.dstack([GRAY] * 3), ALPHA))


def test_palette(tmp_path: Path) -> None:
    picture = Image.fromarray(COLOUR).quantize(16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", picture)), np.asarray(picture.convert("RGB")))


def test_palette_with_transparency(tmp_path: Path) -> None:
    indices = (GRAY % 3).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette([10, 20, 30, 200, 100, 0, 7, 8, 9])
    path = save(tmp_path / "a.png", picture, transparency=bytes([255, 64, 0]))
    colours = np.array([[10, 20, 30], [200, 100, 0], [7, 8, 9]], dtype=np.uint8)[indices]
    opacity = np.array([255, 64, 0], dtype=np.uint8)[indices]
    np.testing.assert_array_equal(read_image(path), over_white(colours, opacity))


def test_transparent_colour_of_an_8_bit_png(tmp_path: Path) -> None:
    gone = tuple(int(value) for value in COLOUR[3, 5])
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR), transparency=gone)
    np.testing.assert_array_equal(
        read_image(path), np.where(np.all(gone == COLOUR, axis=-1, keepdims=True), 255, COLOUR)
    )


def test_cmyk_without_a_profile_multiplies_ink_by_black(tmp_path: Path) -> None:
    cmyk = np.dstack([COLOUR, ALPHA])
    path = save(tmp_path / "a.tif", Image.frombytes("CMYK", (40, 24), cmyk.tobytes()))
    expected = (255.0 - COLOUR) * (255.0 - ALPHA[..., None]) / 255
    assert np.abs(read_image(path) - expected).max() <= 0.5 + 1e-9


def test_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    paper = Image.new("CMYK", (32, 32), (0, 0, 0, 0))
    assert read_image(save(tmp_path / "a.jpg", paper)).min() >= 253


# ---- 16 bits


def test_16_bit_gray_is_rounded_over_its_whole_range(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for path in (png16(tmp_path / "a.png", ramp), save(tmp_path / "a.tif", Image.fromarray(ramp))):
        np.testing.assert_array_equal(read_image(path), reduced(np.dstack([ramp] * 3)))


def test_16_bit_colour_is_rounded_over_its_whole_range(tmp_path: Path) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    samples = np.dstack([ramp, ramp[::-1], ramp.T])
    np.testing.assert_array_equal(read_image(png16(tmp_path / "a.png", samples)), reduced(samples))


def test_16_bit_alpha(tmp_path: Path) -> None:
    image = read_image(png16(tmp_path / "a.png", DEEP))
    np.testing.assert_array_equal(image, over_white(reduced(DEEP[..., :3]), reduced(DEEP[..., 3])))
    image = read_image(png16(tmp_path / "b.png", DEEP[..., :2]))
    gray = reduced(np.dstack([DEEP[..., 0]] * 3))
    np.testing.assert_array_equal(image, over_white(gray, reduced(DEEP[..., 1])))


@pytest.mark.parametrize("bands", [1, 3])
def test_16_bit_transparent_colour_is_compared_at_16_bits(tmp_path: Path, bands: int) -> None:
    samples = DEEP[..., :bands].copy()
    samples[5, 6] = samples[3, 4] ^ 1  # the same at 8 bits, but not the transparent colour
    transparent = chunk(b"tRNS", samples[3, 4].astype(">u2").tobytes())
    image = read_image(png16(tmp_path / "a.png", samples, transparent))
    expected = np.where(np.all(samples == samples[3, 4], axis=-1, keepdims=True), 255, reduced(samples))
    assert expected[5, 6, 0] != 255
    np.testing.assert_array_equal(image, np.broadcast_to(expected, image.shape))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_colour_tiff(tmp_path: Path, byteorder: Literal["<", ">"], compression: str | None) -> None:
    path = tmp_path / "a.tif"
    samples = DEEP[..., :3]
    tifffile.imwrite(path, samples, photometric="rgb", byteorder=byteorder, compression=compression)
    np.testing.assert_array_equal(read_image(path), reduced(samples))


def test_16_bit_gray_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, DEEP[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path)[..., 0], reduced(65535 - DEEP[..., 0]))


def test_16_bit_graymap(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 40 24 65535\n" + DEEP[..., 0].astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(path)[..., 0], reduced(DEEP[..., 0]))


# ---- orientation and frames


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", Image.fromarray(COLOUR), exif=exif)
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert expected.shape[:2] == ((40, 24) if orientation > 4 else (24, 40))
    np.testing.assert_array_equal(read_image(path), expected)


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_xmp_orientation_is_applied_where_exif_has_none(tmp_path: Path, suffix: str) -> None:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {".png": {"pnginfo": text}, ".tif": {"tiffinfo": {700: XMP}}}.get(suffix, {"xmp": XMP})
    picture = Image.fromarray(COLOUR)
    upright = save(tmp_path / f"upright{suffix}", picture)
    turned = save(tmp_path / f"turned{suffix}", picture, **options)
    np.testing.assert_array_equal(read_image(turned), np.rot90(read_image(upright), -1))
    if suffix in (".png", ".jpg", ".webp"):
        exif = Image.Exif()
        exif[0x0112] = 3
        both = save(tmp_path / f"both{suffix}", picture, exif=exif, **options)
        np.testing.assert_array_equal(read_image(both), np.rot90(read_image(upright), 2))


def test_16_bit_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = png16(tmp_path / "a.png", DEEP[..., :3], chunk(b"eXIf", exif.tobytes()[6:]))
    np.testing.assert_array_equal(read_image(path), np.rot90(reduced(DEEP[..., :3]), -1))


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_only_the_first_frame_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (20, 16), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = save(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(read_image(path), np.full((16, 20, 3), (255, 0, 0)))


# ---- colour profiles

# The primaries of sRGB and Adobe RGB (1998), adapted to D50 (B. Lindbloom's tables), as columns of XYZ.
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space: bytes, own: dict[bytes, bytes], device: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """Build an ICC version 2 profile (ICC.1:2001-04)."""
    white = fixed(0.9642, 1.0, 0.8249)
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 1) + bytes(80), b"wtpt": b"XYZ \0\0\0\0" + white} | own
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02100000, device, space, pcs)
    header += bytes(12) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def gamma_curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def matrix_profile(primaries: npt.NDArray[np.float64], curve: float | bytes) -> bytes:
    tags = {}
    for index, band in enumerate((b"r", b"g", b"b")):
        tags[band + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*primaries[:, index])
        tags[band + b"TRC"] = curve if isinstance(curve, bytes) else gamma_curve(curve)
    return profile(b"RGB ", tags)


def srgb_from_linear(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IEC 61966-2-1, to 0..255."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def linear_from_srgb(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IEC 61966-2-1, from 0..255."""
    values = values / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def test_a_wide_gamut_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    gamma = 563 / 256
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR), icc_profile=matrix_profile(ADOBE, gamma))
    linear = (COLOUR / 255.0) ** gamma @ (np.linalg.inv(SRGB) @ ADOBE).T
    image = read_image(path)
    # The colour engine works with 8-bit output in fixed point: within one level of the exact value.
    assert np.abs(image - srgb_from_linear(linear)).max() < 1
    assert np.abs(image.astype(int) - COLOUR).max() > 20


def test_a_real_photograph_in_adobe_rgb() -> None:
    stored = skimage.data.rocket()
    path = Path(skimage.data.__file__).with_name("rocket.jpg")
    linear = (stored / 255.0) ** (563 / 256) @ (np.linalg.inv(SRGB) @ ADOBE).T
    assert np.abs(read_image(path) - srgb_from_linear(linear)).max() < 1


def test_16_bit_colour_is_converted_too(tmp_path: Path) -> None:
    extra = chunk(b"iCCP", b"a\0\0" + zlib.compress(matrix_profile(ADOBE, 1.0)))
    image = read_image(png16(tmp_path / "a.png", DEEP[..., :3], extra))
    linear = reduced(DEEP[..., :3]) / 255.0 @ (np.linalg.inv(SRGB) @ ADOBE).T
    assert np.abs(image - srgb_from_linear(linear)).max() < 1.5


def test_a_gray_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    gray = profile(b"GRAY", {b"kTRC": gamma_curve(1.0)})
    path = save(tmp_path / "a.png", Image.fromarray(GRAY), icc_profile=gray)
    expected = srgb_from_linear(GRAY / 255.0)
    assert np.abs(read_image(path) - expected[..., None]).max() < 0.51


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR), icc_profile=srgb)
    np.testing.assert_array_equal(read_image(path), COLOUR)


def test_a_variant_of_srgb_changes_nothing(tmp_path: Path) -> None:
    # Like the many profiles called sRGB: a table for the curve, and primaries that are a little off.
    table = np.rint(65535 * linear_from_srgb(np.linspace(0, 255, 1024))).astype(">u2").tobytes()
    curve = b"curv" + struct.pack(">II", 0, 1024) + table
    variant = matrix_profile(SRGB * 0.994, curve)
    picture = Image.fromarray(COLOUR)
    srgb = ImageCms.createProfile("sRGB")
    moved = ImageCms.profileToProfile(picture, ImageCms.ImageCmsProfile(io.BytesIO(variant)), srgb)
    assert np.abs(np.asarray(moved, dtype=int) - COLOUR).max() == 1
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", picture, icc_profile=variant)), COLOUR)


def test_alpha_and_profile(tmp_path: Path) -> None:
    wide = matrix_profile(ADOBE, 563 / 256)
    plain = read_image(save(tmp_path / "a.png", Image.fromarray(COLOUR), icc_profile=wide))
    rgba = Image.fromarray(np.dstack([COLOUR, ALPHA]))
    image = read_image(save(tmp_path / "b.png", rgba, icc_profile=wide))
    np.testing.assert_array_equal(image, over_white(plain, ALPHA))


def test_a_cmyk_profile_is_used(tmp_path: Path) -> None:
    # A table with two points an ink ("mft1"): CIELAB white without ink, otherwise black.
    corners = bytearray(16 * 3)
    corners[0:3] = (255, 128, 128)
    for corner in range(1, 16):
        corners[3 * corner : 3 * corner + 3] = (0, 128, 128)
    identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    ramp = bytes(range(256))
    table = b"mft1" + struct.pack(">IBBBB", 0, 4, 3, 2, 0) + identity + ramp * 4 + bytes(corners) + ramp * 3
    ink = profile(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")
    cmyk = np.zeros((16, 16, 4), dtype=np.uint8)
    cmyk[:, 8:, 0] = 255  # cyan, which only this profile calls black
    picture = Image.frombytes("CMYK", (16, 16), cmyk.tobytes())
    image = read_image(save(tmp_path / "a.tif", picture, icc_profile=ink))
    assert image[:, :8].min() >= 254
    assert image[:, 8:].max() <= 1


@pytest.mark.parametrize("bad", [b"no profile", matrix_profile(ADOBE, 2.2)[:200], profile(b"GRAY", {})])
def test_a_damaged_or_foreign_profile_is_ignored(tmp_path: Path, bad: bytes) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR), icc_profile=bad)
    np.testing.assert_array_equal(read_image(path), COLOUR)


# ---- formats from other packages


def test_heic(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    flat = Image.new("RGB", (64, 48), (200, 100, 50))
    pillow_heif.from_pillow(flat).save(tmp_path / "a.HEIC", quality=90)
    image = read_image(tmp_path / "a.HEIC")
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - (200, 100, 50)).max() <= 6


def test_jpeg_xl_and_its_exif_which_does_not_turn_it(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jxl", Image.fromarray(COLOUR), lossless=True, exif=exif.tobytes())
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize(("suffix", "package"), [(".heic", "pillow_heif"), (".jxl", "pillow_jxl")])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ImageError, match=r'pip install "rdbench\[codecs\]"'):
        read_image(path)


# ---- what cannot be read


def reason(path: Path) -> str:
    """The message for a file that cannot be read: one line that begins with its name."""
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif", ".gif", ".bmp", ".ppm", ".jp2"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_truncated_file(tmp_path: Path, suffix: str, kept: float) -> None:
    smooth = Image.fromarray(COLOUR).resize((96, 64), Image.Resampling.BICUBIC)
    path = save(tmp_path / f"a{suffix}", smooth)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert "damaged" in reason(path)


def test_a_png_whose_end_never_arrived(tmp_path: Path) -> None:
    smooth = Image.fromarray(COLOUR).resize((96, 64), Image.Resampling.BICUBIC)
    path = save(tmp_path / "a.png", smooth)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2].ljust(len(data), b"\0"))
    assert "damaged" in reason(path)


def test_every_flipped_bit_of_a_png_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR[:8, :8]))
    data = path.read_bytes()
    for position in range(8, len(data) - 12):  # without the end marker, which holds nothing
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        reason(path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    assert reason(path) == "the file is empty"


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "not an image" in reason(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.png") == "no such file"
    assert reason(tmp_path) == "not a file"


def test_a_decompression_bomb(tmp_path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    assert "too large" in reason(path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int16])
def test_samples_without_a_white(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY.astype(dtype))
    assert "no defined white" in reason(path)


def test_16_bit_planes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(DEEP[..., :3], -1, 0), photometric="rgb", planarconfig="separate")
    assert "save it interleaved" in reason(path)


def test_a_colour_model_without_a_rule(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.new("LAB", (20, 20)))
    assert reason(path) == "colour model LAB is not supported: save it as RGB"


def test_damaged_metadata_does_not_spoil_an_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(read_image(path), COLOUR)


# ---- digest


def test_the_digest_is_of_the_bytes_and_the_rules(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(COLOUR))
    file = ImageFile(path)
    expected = hashlib.sha256(path.read_bytes() + ImageFile.rules.encode()).hexdigest()
    assert file.digest() == expected
    path.write_bytes(path.read_bytes() + b" ")
    assert file.digest() != expected


def test_the_digest_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.png: no such file"):
        ImageFile(tmp_path / "a.png").digest()


def test_an_item_is_made_of_the_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    item = ImageFile(tmp_path / "a.png").item("name", "caption")
    assert (item.name, item.caption) == ("name", "caption")
    np.testing.assert_array_equal(item.load(), COLOUR)
    assert item.digest() == ImageFile(tmp_path / "a.png").digest()
