"""Files of real encoders that say with code points, not with an ICC profile, what their colours are."""

import hashlib
import io
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from rdbench.datasets import ImageError
from rdbench.datasets.cicp import Cicp, to_srgb_levels
from rdbench.datasets.colour_tags import colour_tags
from rdbench.datasets.image_file import ImageFile, read_image

pillow_heif = pytest.importorskip("pillow_heif")
pytest.importorskip("pillow_jxl")
pillow_heif.register_heif_opener()

RNG = np.random.default_rng(5)
PATCHES = np.kron(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
NAMES = {
    (12, 13): ("smpte432", "iec61966-2-1"),
    (9, 14): ("bt2020", "bt2020-10"),
    (1, 1): ("bt709", "bt709"),
    (1, 8): ("bt709", "linear"),
    (9, 16): ("bt2020", "smpte2084"),
    (9, 18): ("bt2020", "arib-std-b67"),
    (1, 13): ("bt709", "iec61966-2-1"),
}
SDR = [(12, 13), (9, 14), (1, 1), (1, 8)]
HDR = {(9, 16): "HDR, PQ of BT.2100", (9, 18): "HDR, HLG of BT.2100"}


def ffmpeg(source: Path, target: Path, codes: tuple[int, int]) -> Path:
    """Encode a picture with ffmpeg, which writes the code points into it."""
    primaries, transfer = NAMES[codes]
    filters = f"setparams=color_primaries={primaries}:color_trc={transfer}"
    encoder = {".png": ["-c:v", "png"], ".jxl": ["-c:v", "libjxl", "-distance", "0"]}.get(target.suffix)
    if encoder is None:
        filters = f"scale=out_color_matrix=bt709:out_range=pc,format=yuv444p,{filters}:colorspace=bt709:range=pc"
        encoder = ["-c:v", "libaom-av1", "-still-picture", "1", "-crf", "0"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", source, "-vf", filters, *encoder, target]
    subprocess.run(command, check=True, timeout=60)
    return target


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """Put a chunk into a PNG, after its header."""
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data[:33] + chunk + data[33:]


def png(path: Path, picture: Image.Image, codes: tuple[int, int], *, full: int = 1, **options: Any) -> Path:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    path.write_bytes(with_chunk(buffer.getvalue(), b"cICP", bytes([*codes, 0, full])))
    return path


def heic(path: Path, **options: Any) -> Path:
    Image.fromarray(PATCHES).save(path, "HEIF", quality=-1, chroma=444, matrix_coefficients=6, **options)
    return path


def decoded(path: Path) -> npt.NDArray[np.uint8]:
    """Return the samples as the decoder gives them out."""
    return np.asarray(Image.open(path).convert("RGB"))


def p3_profile() -> bytes:
    """Return an ICC profile that is not sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def plain_digest(path: Path) -> str:
    """Return the digest that a file had before code points were looked at."""
    return hashlib.sha256(path.read_bytes() + ImageFile.rules.encode()).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.png"
    Image.fromarray(PATCHES).save(path)
    return path


@pytest.mark.parametrize("codes", SDR, ids=str)
@pytest.mark.parametrize("suffix", [".avif", ".png"])
def test_colours_that_ffmpeg_wrote_are_converted(source: Path, suffix: str, codes: tuple[int, int]) -> None:
    path = ffmpeg(source, source.with_name(f"a{suffix}"), codes)
    samples = decoded(path)
    assert np.abs(samples.astype(int) - PATCHES).mean() < 2, "the encoder wrote the samples that it was given"
    expected = to_srgb_levels(samples, 255, Cicp(*codes))
    np.testing.assert_array_equal(read_image(path), expected)
    assert np.abs(expected.astype(int) - samples).max() > 5, "the test would not notice if nothing were converted"
    assert ImageFile(path).digest() != plain_digest(path)


@pytest.mark.parametrize("codes", HDR, ids=str)
@pytest.mark.parametrize("suffix", [".avif", ".png", ".jxl"])
def test_hdr_is_refused_by_name(source: Path, suffix: str, codes: tuple[int, int]) -> None:
    path = ffmpeg(source, source.with_name(f"a{suffix}"), codes)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: {HDR[codes]}")
    assert ImageFile(path).digest() != plain_digest(path), "rows that were measured on other pixels are not known"


@pytest.mark.parametrize("suffix", [".avif", ".png", ".jxl"])
def test_srgb_is_left_alone(source: Path, suffix: str) -> None:
    path = ffmpeg(source, source.with_name(f"a{suffix}"), (1, 13))
    np.testing.assert_array_equal(read_image(path), decoded(path))
    assert ImageFile(path).digest() == plain_digest(path)


@pytest.mark.parametrize("codes", [(12, 13), (1, 1), (1, 8)], ids=str)
def test_jpeg_xl_comes_with_a_profile_of_its_colours(source: Path, codes: tuple[int, int]) -> None:
    path = ffmpeg(source, source.with_name("a.jxl"), codes)
    expected = to_srgb_levels(PATCHES, 255, Cicp(*codes))
    # lcms is within a level, but for the steep start of linear light in 8 bits
    assert np.quantile(np.abs(read_image(path).astype(int) - expected), 0.98) <= 1
    assert ImageFile(path).digest() == plain_digest(path), "it was converted by that profile before"


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 1), (9, 14), (1, 8), (5, 6)])
def test_heic(tmp_path: Path, primaries: int, transfer: int) -> None:
    path = heic(tmp_path / "a.heic", color_primaries=primaries, transfer_characteristics=transfer, full_range_flag=1)
    told = Image.open(path).info["nclx_profile"]
    assert (told["color_primaries"], told["transfer_characteristics"]) == (primaries, transfer)
    np.testing.assert_array_equal(read_image(path), to_srgb_levels(decoded(path), 255, Cicp(primaries, transfer)))
    assert ImageFile(path).digest() != plain_digest(path)


@pytest.mark.parametrize("transfer", [16, 18])
def test_heic_of_hdr_is_refused(tmp_path: Path, transfer: int) -> None:
    path = heic(tmp_path / "a.heic", color_primaries=9, transfer_characteristics=transfer, full_range_flag=1)
    with pytest.raises(ImageError, match=r"HDR, (PQ|HLG) of BT\.2100"):
        read_image(path)


def test_an_icc_profile_goes_before_code_points_in_heic(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    Image.fromarray(PATCHES).save(
        path, "HEIF", quality=-1, icc_profile=p3_profile(), color_primaries=9, transfer_characteristics=16
    )
    assert "icc_profile" in Image.open(path).info
    assert ImageFile(path).digest() == plain_digest(path)
    read_image(path)


@pytest.mark.parametrize("save", [heic, lambda path: Image.fromarray(PATCHES).save(path)])
@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_what_pillow_writes_is_srgb(tmp_path: Path, save: Any, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".avif":
        Image.fromarray(PATCHES).save(path)
    else:
        save(path)
    assert ImageFile(path).digest() == plain_digest(path)
    np.testing.assert_array_equal(read_image(path), decoded(path))


def test_codes_of_a_png_go_before_its_profile(tmp_path: Path) -> None:
    profile = p3_profile()
    path = png(tmp_path / "a.png", Image.fromarray(PATCHES), (1, 13), icc_profile=profile)
    np.testing.assert_array_equal(read_image(path), PATCHES)
    assert ImageFile(path).digest() != plain_digest(path), "it was converted by the profile before"
    path = png(tmp_path / "b.png", Image.fromarray(PATCHES), (12, 13), icc_profile=profile)
    np.testing.assert_array_equal(read_image(path), to_srgb_levels(PATCHES, 255, Cicp(12, 13)))


def test_a_png_of_narrow_range_is_widened(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", Image.fromarray(PATCHES), (1, 13), full=0)
    expected = np.clip(np.rint((PATCHES.astype(float) - 16) * 255 / 219), 0, 255)
    assert np.abs(read_image(path) - expected).max() <= 1


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bits_are_rounded_after_the_conversion(tmp_path: Path, bands: int) -> None:
    samples = np.zeros((8, 64, bands), ">u2")
    samples[:] = (np.arange(8 * 64).reshape(8, 64, 1) * 12 + 40 * np.arange(bands)).astype(
        ">u2"
    )  # dark: linear is steep
    if bands in (2, 4):
        samples[..., -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", 64, 8, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in (
        (b"IHDR", header),
        (b"cICP", b"\x01\x08\x00\x01"),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    colours = samples[..., : 3 if bands > 2 else 1].astype(float) / 65535
    exact = 255 * np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * colours ** (1 / 2.4) - 0.055)
    assert np.abs(read_image(path) - exact).max() <= 0.501


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_every_kind_of_png_is_converted(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(PATCHES).convert(mode)
    path = png(tmp_path / "a.png", picture, (1, 8))
    samples = np.asarray(Image.fromarray(PATCHES).convert(mode).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), to_srgb_levels(samples, 255, Cicp(1, 8)))


def test_a_sequence_is_told_by_its_track(source: Path) -> None:
    path = source.with_name("a.avif")
    filters = "format=yuv444p,setparams=color_primaries=smpte432:color_trc=iec61966-2-1:colorspace=bt709:range=pc"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-loop", "1", "-i", source, "-frames:v", "2"]
    subprocess.run([*command, "-vf", filters, "-c:v", "libaom-av1", "-crf", "10", path], check=True, timeout=60)
    assert path.read_bytes()[8:12] == b"avis"
    with path.open("rb") as stream:
        assert colour_tags(stream) == Cicp(12, 13)


def test_a_large_jpeg_xl_in_a_container_is_told_as_well(source: Path) -> None:
    bare = ffmpeg(source, source.with_name("a.jxl"), (9, 16)).read_bytes()
    assert bare[:2] == b"\xff\x0a"
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
    whole = start + struct.pack(">I4s", len(bare) + 8, b"jxlc") + bare
    first = b"\0\0\0\0" + bare[:3]
    parts = start + struct.pack(">I4s", len(first) + 8, b"jxlp") + first
    parts += struct.pack(">I4s", 0, b"jxlp") + b"\x80\0\0\1" + bare[3:]
    for data in (whole, parts):
        assert colour_tags(io.BytesIO(data)) == Cicp(9, 16)


@given(st.binary(max_size=64), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\x0a", b"\0\0\0\x14ftypavif", b""]))
def test_no_bytes_make_it_fail(data: bytes, start: bytes) -> None:
    stream = io.BytesIO(start + data)
    colour_tags(stream)
    assert stream.tell() == 0


@pytest.mark.parametrize("suffix", [".avif", ".png", ".jxl"])
def test_no_damage_makes_it_fail(source: Path, suffix: str) -> None:
    data = ffmpeg(source, source.with_name(f"a{suffix}"), (9, 16)).read_bytes()
    for at in range(min(len(data), 700)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            colour_tags(io.BytesIO(damaged))
