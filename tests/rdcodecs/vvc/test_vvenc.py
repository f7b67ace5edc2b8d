import itertools
import sys
import tempfile

import numpy as np
import pytest

from rdcodecs import (
    CodecError,
    EncodeError,
    MissingDependencyError,
    OptionError,
    RateError,
    StreamError,
    load_codec,
)
from rdcodecs.ffmpeg import find_ffmpeg
from rdcodecs.vvc.bitstream import StreamInfo, read_info
from rdcodecs.vvc.vvenc import PRESETS, VVenC

needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")


def mean_error(image, other):
    return np.abs(image.astype(int) - other).mean()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (16, 17), (35, 21), (130, 66)])
def test_every_size(picture, size):
    image = picture(*size)
    data = VVenC().encode(image, 22)
    decoded = VVenC().decode(data)
    assert decoded.dtype == np.uint8
    assert decoded.shape == image.shape
    assert decoded.flags["C_CONTIGUOUS"]
    assert mean_error(decoded, image) < 4
    assert VVenC().encode(image, 22) == data
    width, height = size
    odd = StreamInfo(width + width % 2, height + height % 2, 420, bool(width % 2), bool(height % 2))
    assert read_info(data) == odd


def test_a_higher_qp_is_smaller_and_worse(picture):
    image = picture(96, 64)
    streams = [VVenC(preset="faster").encode(image, qp) for qp in (10, 24, 40, 63)]
    errors = [mean_error(VVenC().decode(stream), image) for stream in streams]
    assert [len(stream) for stream in streams] == sorted(map(len, streams), reverse=True)
    assert errors == sorted(errors)


def test_a_photograph_at_low_rate():
    # Figures from an independent run of libvvenc 1.15 medium at QP 47: .0970 bpp, 27.50 dB. The bounds leave
    # room for other versions.
    image = pytest.importorskip("skimage.data").astronaut()
    data = VVenC().encode(image, 47)
    decoded = VVenC().decode(data)
    psnr = 10 * np.log10(255**2 / np.mean((decoded.astype(float) - image) ** 2))
    assert 8 * len(data) / image[..., 0].size == pytest.approx(0.0970, rel=0.03)
    assert psnr == pytest.approx(27.50, abs=0.15)


def test_gray_stays_gray():
    image = np.full((32, 32, 3), 100, np.uint8)
    decoded = VVenC().decode(VVenC().encode(image, 20))
    assert np.abs(decoded.astype(int) - 100).max() <= 1


def test_temporary_files_are_gone(temporary, picture):
    VVenC().decode(VVenC().encode(picture(17, 16), 40))
    assert not list(temporary.iterdir())


def test_presets_are_ffmpegs(picture):
    image = picture(32, 32)
    for preset in PRESETS:
        assert VVenC(preset=preset).encode(image, 50)


def test_fingerprint():
    first = VVenC().fingerprint()
    assert first["codec"] == "vvenc"
    assert first["encoder"].startswith("libvvenc ")
    assert "vtm" not in str(first).lower()
    assert VVenC(timeout=5).fingerprint() == first
    assert VVenC(preset="slow").fingerprint() != first
    assert str(find_ffmpeg()) not in str(first)


def test_bad_options(picture):
    with pytest.raises(OptionError, match=r"^vvenc: preset must be one of faster, .* slower, not 'veryslow'$"):
        load_codec("vvenc", preset="veryslow")
    with pytest.raises(OptionError, match=r"^vvenc: timeout must be a positive number of seconds, not 0$"):
        load_codec("vvenc", timeout=0)
    with pytest.raises(OptionError, match="codec 'vvenc' has no decode option 'steps'"):
        VVenC().decode(b"", steps=5)


def test_bad_image_and_rate(picture):
    for rate in (-1, 64, 30.5, float("nan")):
        with pytest.raises(RateError, match=r"^QP "):
            VVenC().encode(picture(16, 16), rate)
    with pytest.raises(EncodeError, match="16x15: both sides must be at least 16"):
        VVenC().encode(picture(16, 15), 30)


def test_more_than_eight_bits_a_pixel(temporary):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with pytest.raises(EncodeError, match="room for 8 bits per pixel: try a higher QP"):
        VVenC().encode(noise, 0)
    assert not list(temporary.iterdir())


def test_damaged_streams(temporary, picture, stream_444):
    data = VVenC().encode(picture(48, 48), 30)
    random = np.random.default_rng(0).bytes(500)
    for damaged in (b"", random, data[:20], data[:60], data[: len(data) // 2], data[:-2]):
        with pytest.raises(StreamError) as caught:
            VVenC().decode(damaged)
        assert "\n" not in str(caught.value)
    with pytest.raises(StreamError, match="not a stream of vvenc: its chroma format is 444, not 420"):
        VVenC().decode(stream_444)
    with pytest.raises(StreamError, match="exactly one picture"):
        VVenC().decode(data + data)
    assert not list(temporary.iterdir())


def test_a_decoder_that_only_complains_is_not_believed(picture):
    # Some streams without their last byte decode with exit status 0: nothing was lost, or it is an error.
    for size in ((16, 16), (18, 16), (26, 54), (58, 34)):
        data = VVenC().encode(picture(*size), 40)
        whole = VVenC().decode(data)
        try:
            cut = VVenC().decode(data[:-1])
        except StreamError:
            continue
        assert np.array_equal(cut, whole)


@needs_shell
class TestStandIn:
    @pytest.fixture
    def stand_in(self, tmp_path, monkeypatch):
        """Makes an ffmpeg that lists libvvenc and VVC, and does something of our choice for a picture."""

        numbers = itertools.count()

        def make(work: str, lists: str = " V....D libvvenc x\n V....D vvc x") -> None:
            program = tmp_path / f"ffmpeg-{next(numbers)}"
            program.write_text(
                f"#!/bin/sh\ncase $2 in -*coders) echo '{lists}'; exit;; -filters) exit;; esac\n{work}\n"
            )
            program.chmod(0o755)
            monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
            monkeypatch.setenv("PATH", "/usr/bin:/bin")

        return make

    def test_time_limit(self, stand_in, temporary, picture, stream_420):
        stand_in("sleep 300 & sleep 300")
        codec = VVenC(timeout=0.3)
        with pytest.raises(EncodeError, match=r"^vvenc: ffmpeg-\d+ ran past its time limit of 0\.3 s$"):
            codec.encode(picture(16, 16), 30)
        with pytest.raises(CodecError, match=r"^vvenc: ffmpeg-\d+ ran past its time limit of 0\.3 s$"):
            codec.decode(stream_420)
        assert not list(temporary.iterdir())

    def test_errors(self, stand_in, temporary, picture, stream_420):
        stand_in("echo '[x @ 0x55aa] Error: it broke' >&2; exit 187")
        with pytest.raises(EncodeError, match=r"failed with exit status 187: Error: it broke$"):
            VVenC().encode(picture(16, 16), 30)
        stand_in("true")
        with pytest.raises(EncodeError, match="ffmpeg wrote no stream"):
            VVenC().encode(picture(16, 16), 30)
        with pytest.raises(StreamError, match="exactly one picture"):
            VVenC().decode(stream_420)
        stand_in("echo '[vvc @ 0x55aa] frame 0 failed with -22' >&2")
        with pytest.raises(StreamError, match=r"the stream is damaged: frame 0 failed with -22$"):
            VVenC().decode(stream_420)
        assert not list(temporary.iterdir())

    def test_the_version_falls_back_on_that_of_ffmpeg(self, stand_in):
        stand_in('[ "$1" != -version ] || echo "ffmpeg version 8.1 Copyright"')
        assert VVenC().fingerprint()["encoder"] == "libvvenc of ffmpeg 8.1"

    def test_an_ffmpeg_without_libvvenc(self, stand_in, monkeypatch, tmp_path):
        stand_in("true", lists=" V....D vvc x")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingDependencyError, match=r"^vvenc: no ffmpeg with .* lacks encoder libvvenc; ") as e:
            VVenC().check()
        assert "\n" not in str(e.value)
