import json
import os
import re
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import suppress
from io import BytesIO
from typing import Literal

import imageio_ffmpeg
import numpy as np
import PIL.AvifImagePlugin
import PIL.Image
import PIL.ImageFile
import PIL.JpegImagePlugin
import pytest
from PIL import features

from rdcodecs import (
    EncodeError,
    MissingDependencyError,
    OptionError,
    RateError,
    StreamError,
    load_codec,
)
from rdcodecs.pillow import JPEG2000, _jxl_quality
from rdcodecs.stated_size import jxl_size, webp_size

skimage_data = pytest.importorskip("skimage.data")

# A coarse, a middle and a fine rate of each codec.
RATES = {
    "avif": (10, 40, 80),
    "heic": (10, 30, 60),
    "jpeg": (10, 40, 90),
    "jpeg2000": (0.2, 0.8, 12),
    "jxl": (18, 6, 0.8),
    "webp": (0.5, 40, 95),
}
PACKAGES = {"heic": "pillow_heif", "jxl": "pillow_jxl"}
SIZES = [(16, 16), (17, 33), (33, 17), (16, 101), (67, 16), (101, 67), (64, 65), (255, 31)]


@pytest.fixture(params=sorted(RATES))
def name(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture
def codec(name):
    return load_codec(name)


@pytest.fixture(scope="module")
def astronaut():
    return skimage_data.astronaut()


@pytest.fixture(scope="module")
def photo(astronaut):
    return np.ascontiguousarray(astronaut[:128, 150:278])


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_any_size_comes_back_whole(codec, name, astronaut):
    for height, width in SIZES:
        image = np.ascontiguousarray(astronaut[60 : 60 + height, 180 : 180 + width])
        decoded = codec.decode(codec.encode(image, RATES[name][2]))
        assert decoded.shape == image.shape
        assert decoded.dtype == np.uint8
        # A writer that pads or crops would spoil or shift the last rows and columns first.
        for part in (np.s_[:], np.s_[-2:], np.s_[:, -2:]):
            assert psnr(image[part], decoded[part]) > 27, (height, width, part)


def test_a_higher_rate_means_more_bytes_and_a_better_picture(codec, name, photo):
    files = [codec.encode(photo, rate) for rate in RATES[name]]
    coarse, middle, fine = (psnr(photo, codec.decode(file)) for file in files)
    assert len(files[0]) < len(files[1]) < len(files[2])
    assert coarse + 1 < middle < fine - 1
    low, high = sorted((RATES[name][0], RATES[name][2]))
    assert codec.rate.higher_is_larger == (len(codec.encode(photo, low)) < len(codec.encode(photo, high)))


def test_both_ends_of_the_rate_range_work(codec, photo):
    for rate in (codec.rate.low, codec.rate.high):
        assert codec.decode(codec.encode(photo, rate)).shape == photo.shape


def test_the_same_image_gives_the_same_file_and_the_same_picture(codec, name, photo):
    file = codec.encode(photo, RATES[name][1])
    assert load_codec(name).encode(photo.copy(), RATES[name][1]) == file
    np.testing.assert_array_equal(codec.decode(file), load_codec(name).decode(file))


def test_a_non_contiguous_image_is_encoded_as_what_it_shows(codec, name, photo):
    assert codec.encode(photo[::-1, ::2], 10) == codec.encode(np.ascontiguousarray(photo[::-1, ::2]), 10)


def test_the_file_holds_nothing_but_the_picture(codec, name, photo):
    file = codec.encode(photo, RATES[name][1])
    info = PIL.Image.open(BytesIO(file)).info
    assert not any(info.get(key) for key in ("exif", "xmp", "comment", "thumbnails", "metadata"))
    if name == "jxl":  # libjxl makes up a profile for the sRGB flag; it is larger than this whole file
        assert len(codec.encode(photo[:16, :16], RATES[name][1])) < 100 < len(info["icc_profile"])
    else:
        assert not info.get("icc_profile")
    for trace in (
        b"Exif",
        b"ICC_PROFILE",
        b"adobe",
        b"xmp",
        b"OpenJPEG",
        b"x265",
        b"aom",
        b"Lavc",
        b"Pillow",
    ):
        assert trace not in file


def test_a_file_cut_short_is_refused(codec, name, photo):
    file = codec.encode(photo[:64, :64], RATES[name][0])
    for length in [*range(min(200, len(file))), *range(200, len(file), 20), len(file) - 1]:
        with pytest.raises(StreamError, match=r"^not a "):
            codec.decode(file[:length])


def test_a_file_cut_short_is_refused_even_if_others_told_pillow_to_read_on(codec, name, photo, monkeypatch):
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    file = codec.encode(photo, RATES[name][1])
    for length in (len(file) // 2, len(file) - 10):
        with pytest.raises(StreamError):
            codec.decode(file[:length])


def test_a_file_of_another_format_is_refused(codec, name, photo):
    foreign = {other: load_codec(other).encode(photo, RATES[other][1]) for other in ("jpeg", "webp", "avif")}
    png = BytesIO()
    PIL.Image.fromarray(photo).save(png, format="PNG")
    foreign |= {"png": png.getvalue(), "noise": np.random.default_rng(0).bytes(5000), "zeros": bytes(5000)}
    foreign.pop(name, None)
    for data in foreign.values():
        with pytest.raises(StreamError):
            codec.decode(data)


def test_damage_is_refused_or_decodes_but_does_nothing_else(codec, name, photo):
    file = codec.encode(photo, RATES[name][0])
    errors = []
    for position in range(0, len(file), max(1, len(file) // 80)):
        damaged = bytearray(file)
        damaged[position] ^= 0x55
        with suppress(StreamError):
            codec.decode(bytes(damaged))
            continue
        errors.append(position)
    assert 0 in errors


@pytest.mark.parametrize(
    ("name", "mode", "arguments"),
    [("jpeg", "L", {}), ("jpeg", "CMYK", {}), ("webp", "RGBA", {"lossless": True}), ("avif", "RGBA", {})],
)
def test_a_picture_that_is_not_rgb_is_refused(name, mode, arguments, photo):
    picture = PIL.Image.fromarray(photo).convert(mode)
    if mode == "RGBA":
        picture.putalpha(100)
    file = BytesIO()
    picture.save(file, format=name, **arguments)
    with pytest.raises(StreamError, match=f"a picture of mode {mode}, not RGB"):
        load_codec(name).decode(file.getvalue())


def test_a_decompression_bomb_is_refused(codec, name, photo, monkeypatch):
    file = codec.encode(photo, RATES[name][0])
    monkeypatch.setenv("RDBENCH_MAX_PIXELS", str(photo.size // 3 - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StreamError, match=r"the .* file's picture is 128x128, over the limit of 16383 pixels"):
            codec.decode(file)
        with pytest.raises(EncodeError, match=r"the image is 128x128, over the limit of 16383 pixels"):
            codec.encode(photo, RATES[name][0])
        # Pillow's own limit is neither heeded nor left changed.
        monkeypatch.delenv("RDBENCH_MAX_PIXELS")
        monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", photo.size // 3 - 1)
        assert codec.decode(file).shape == photo.shape
    assert photo.size // 3 - 1 == PIL.Image.MAX_IMAGE_PIXELS


def saying(name: str, file: bytes, width: int, height: int) -> bytes:
    """A file whose header says another size."""
    data = bytearray(file)

    def put(at: int, value: int, length: int, order: Literal["big", "little"] = "big") -> None:
        data[at : at + length] = value.to_bytes(length, order)

    if name == "jpeg":
        at = next(index for index in range(len(data)) if data[index] == 0xFF and data[index + 1] in (0xC0, 0xC1, 0xC2))
        put(at + 5, height, 2)
        put(at + 7, width, 2)
    elif name == "webp":
        put(26, width, 2, "little")
        put(28, height, 2, "little")
    elif name == "jpeg2000":
        for at in (8, 24):  # Xsiz and XTsiz
            put(at, width, 4)
            put(at + 4, height, 4)
    elif name == "jxl":
        # Not small; both sides with 30 bits.
        bits = 0 | 3 << 1 | (height - 1) << 3 | 0 << 33 | 3 << 36 | (width - 1) << 38
        data[2:12] = bits.to_bytes(10, "little")
    else:
        for match in re.finditer(b"ispe", file):
            put(match.end() + 4, width, 4)
            put(match.end() + 8, height, 4)
    return bytes(data)


def test_a_stated_size_over_the_limit_takes_no_memory(codec, name, photo):
    file = codec.encode(photo, RATES[name][0])
    if name != "jxl":
        assert saying(name, file, 128, 128) == file
    side = 16383 if name == "webp" else 16384
    bomb = saying(name, file, side, side)
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(StreamError, match=rf"{side}x{side}, over the limit of 67108864 pixels"):
                codec.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (24, 16), (257, 31), (600, 400), (300, 300), (20, 3000)])
def test_the_size_that_a_file_says_is_read_before_it_is_opened(size):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    assert jxl_size(load_codec("jxl").encode(image, 5)) == size
    assert webp_size(load_codec("webp").encode(image, 5)) == size
    for lossless in (True, False):
        file = BytesIO()
        PIL.Image.fromarray(image).convert("RGBA").save(file, format="WEBP", lossless=lossless, exif=b"x" * 9)
        assert webp_size(file.getvalue()) == size
    file = BytesIO()
    PIL.Image.fromarray(image).save(file, format="WEBP", lossless=True)
    assert webp_size(file.getvalue()) == size


def test_what_does_not_begin_like_a_file_says_no_size():
    for data in (b"", b"RIFF", b"\xff\x0a", b"\xff\x0a1234567", b"RIFF1234WEBPVP8 1234567", bytes(100)):
        assert webp_size(data) is None
        assert jxl_size(data) is None


def test_a_jpeg_xl_container_is_refused(photo):
    with pytest.raises(StreamError, match="not a bare JPEG XL codestream but a container"):
        load_codec("jxl").decode(b"\0\0\0\x0cJXL \r\n\x87\n" + load_codec("jxl").encode(photo, 5))


def test_a_rate_out_of_range_is_refused(codec, photo):
    for rate in (codec.rate.low - 1, codec.rate.high + 1, float("nan")):
        with pytest.raises(RateError, match=f"{codec.rate.name} .* out of range"):
            codec.encode(photo, rate)


def test_there_are_no_decode_options(codec, name, photo):
    with pytest.raises(OptionError, match=f"codec '{name}' has no decode options, so no 'steps'"):
        codec.decode(codec.encode(photo, RATES[name][0]), steps=5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("jpeg", {"subsampling": 422}, "codec 'jpeg': subsampling must be one of 420, 444, not 422"),
        ("jpeg", {"progressive": 1}, "codec 'jpeg': progressive must be one of False, True, not 1"),
        ("webp", {"method": 7}, "codec 'webp': method must be a whole number from 0 to 6, not 7"),
        ("webp", {"method": True}, "codec 'webp': method must be a whole number from 0 to 6, not True"),
        ("avif", {"speed": 2.5}, "codec 'avif': speed must be a whole number from 0 to 10, not 2.5"),
        ("avif", {"tune": "vmaf"}, "codec 'avif': tune must be one of 'iq', 'ssim', 'psnr', not 'vmaf'"),
        ("heic", {"preset": "slowest"}, "codec 'heic': preset must be one of 'ultrafast'"),
        ("jxl", {"effort": 0}, "codec 'jxl': effort must be a whole number from 1 to 9, not 0"),
    ],
)
def test_a_bad_option_value_is_refused(name, options, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        load_codec(name, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jpeg", {"progressive": True}),
        ("jpeg", {"optimize": False}),
        ("webp", {"method": 0}),
        ("avif", {"speed": 9}),
        ("avif", {"tune": "psnr"}),
        ("heic", {"preset": "ultrafast"}),
        ("jxl", {"effort": 1}),
    ],
)
def test_an_option_changes_the_file_and_the_fingerprint(name, options, photo):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    default, other = load_codec(name), load_codec(name, **options)
    file = other.encode(photo, RATES[name][1])
    assert file != default.encode(photo, RATES[name][1])
    assert psnr(photo, default.decode(file)) > 20
    assert default.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("name", ["jpeg", "avif", "heic"])
def test_subsampling_444_keeps_colour_detail(name):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, 0::2] = (200, 40, 40)
    stripes[:, 1::2] = (40, 40, 200)
    quality = {
        s: psnr(stripes, c.decode(c.encode(stripes, 90))) for s in (420, 444) for c in [load_codec(name, subsampling=s)]
    }
    assert quality[420] < 15
    assert quality[444] > 25


def test_a_fingerprint_names_every_version_and_is_json(codec, name):
    fingerprint = json.loads(json.dumps(codec.fingerprint()))
    assert fingerprint["codec"] == name
    assert fingerprint["pillow"] == PIL.__version__
    assert isinstance(fingerprint["options"], dict)
    libraries = set(fingerprint) - {"codec", "pillow", "options"}
    assert libraries
    assert all(re.search(r"\d+\.\d+", fingerprint[library]) for library in libraries)


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_missing_package_is_named_when_it_is_needed(name, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    codec = load_codec(name)
    for use in (codec.check, codec.fingerprint, lambda: codec.encode(photo, 10), lambda: codec.decode(b"x")):
        with pytest.raises(MissingDependencyError, match=rf'^codec .{name}.: .*pip install "rdbench\[codecs\]"$'):
            use()


def test_a_pillow_without_a_library_is_reported(monkeypatch):
    monkeypatch.setattr(features, "version", lambda feature: None)
    with pytest.raises(MissingDependencyError, match="codec 'jpeg2000': no openjpeg here: pip install"):
        load_codec("jpeg2000").check()
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(MissingDependencyError, match="codec 'avif': no libavif here"):
        load_codec("avif").check()


def test_the_module_imports_without_the_optional_packages():
    code = "import sys; sys.modules.update(pillow_heif=None, pillow_jxl=None); import rdcodecs.pillow"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_decoders_get_one_thread_and_pillow_gets_its_setting_back(photo, monkeypatch):
    seen = []
    real_open = PIL.Image.open

    def spy(*args, **kwargs):
        seen.append(PIL.AvifImagePlugin.DEFAULT_MAX_THREADS)
        return real_open(*args, **kwargs)

    monkeypatch.setattr(PIL.Image, "open", spy)
    monkeypatch.setattr(PIL.AvifImagePlugin, "DEFAULT_MAX_THREADS", 3)
    avif = load_codec("avif")
    avif.decode(avif.encode(photo, 40))
    with pytest.raises(StreamError):
        avif.decode(b"")
    assert seen == [1, 1]
    assert PIL.AvifImagePlugin.DEFAULT_MAX_THREADS == 3


def test_an_image_larger_than_the_format_allows_is_an_encode_error():
    with pytest.raises(EncodeError, match="codec 'webp' cannot encode this 16x16384 image: "):
        load_codec("webp").encode(np.zeros((16384, 16, 3), np.uint8), 10)


def test_jpeg_scales_the_tables_of_annex_k(photo):
    # ITU-T T.81 Table K.1, first row; libjpeg's quality 50 leaves it as it is, 25 doubles it.
    row = np.array([16, 11, 10, 16, 24, 40, 51, 61])
    for quality, scale in ((50, 1), (25, 2)):
        picture = PIL.Image.open(BytesIO(load_codec("jpeg").encode(photo, quality)))
        assert picture.quantization[0][:8] == list(scale * row)
        assert PIL.JpegImagePlugin.get_sampling(picture) == 2  # 4:2:0


def test_jpeg_takes_noise_that_pillow_would_not():
    noise = np.random.default_rng(1).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    before = PIL.ImageFile.MAXBLOCK
    for quality in (94, 100):
        codec = load_codec("jpeg", subsampling=444)
        file = codec.encode(noise, quality)
        assert len(file) > max(before, noise.size // 3)  # beyond the buffer Pillow would have taken
        assert psnr(noise, codec.decode(file)) > 20
    assert before == PIL.ImageFile.MAXBLOCK


@pytest.mark.parametrize("rate", [0.05, 0.2, 1])
def test_jpeg2000_meets_its_target(rate, astronaut):
    assert len(load_codec("jpeg2000").encode(astronaut, rate)) == pytest.approx(rate * 512 * 512 / 8, abs=150)


def test_jpeg2000_without_its_comment_is_the_same_picture(photo):
    file = BytesIO()
    arguments = JPEG2000()._save_arguments(0.5)
    PIL.Image.fromarray(photo).save(file, format="JPEG2000", **arguments)
    signed, stripped = file.getvalue(), load_codec("jpeg2000").encode(photo, 0.5)
    comment = signed.index(b"\xff\x64")
    length = 2 + int.from_bytes(signed[comment + 2 : comment + 4], "big")
    assert stripped == signed[:comment] + signed[comment + length :]
    np.testing.assert_array_equal(load_codec("jpeg2000").decode(stripped), np.array(PIL.Image.open(file)))


@pytest.mark.parametrize(("quality", "distance"), [(90, 1), (70, 2.8), (30, 6.4), (10, 229 / 15), (0, 25)])
def test_jxl_quality_is_the_inverse_of_libjxls_map(quality, distance):
    assert _jxl_quality(distance) == pytest.approx(quality, abs=1e-6)


def test_jxl_quality_is_continuous_and_within_range():
    distances = np.linspace(0.2, 25, 500)
    qualities = np.array([_jxl_quality(distance) for distance in distances])
    assert np.all(np.diff(qualities) < 0)
    assert np.max(-np.diff(qualities)) < 0.7
    assert 0 <= qualities[-1] < qualities[0] < 100


def test_jxl_distance_is_libjxls_own(astronaut, tmp_path):
    pytest.importorskip("pillow_jxl")
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    encoders = subprocess.run([ffmpeg, "-v", "error", "-encoders"], check=True, capture_output=True, text=True)
    if " libjxl " not in encoders.stdout:
        pytest.skip("this ffmpeg has no libjxl")
    PIL.Image.fromarray(astronaut).save(tmp_path / "a.png")
    for distance in (1, 9):
        out = tmp_path / f"{distance}.jxl"
        command = [ffmpeg, "-v", "error", "-i", str(tmp_path / "a.png"), "-c:v", "libjxl", "-effort", "7"]
        subprocess.run([*command, "-distance", str(distance), str(out)], check=True)
        # The two may be of different releases of libjxl.
        assert len(load_codec("jxl").encode(astronaut, distance)) == pytest.approx(out.stat().st_size, rel=0.03)
