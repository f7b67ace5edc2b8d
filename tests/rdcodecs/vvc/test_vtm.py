"""The adapter's logic is tested on stand-ins for VTM's programs; VTM itself where it is installed."""

import os
import sys
import tempfile
from pathlib import Path

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
from rdcodecs.process import run_program
from rdcodecs.vvc import vtm
from rdcodecs.vvc.common import decoded_image
from rdcodecs.vvc.vtm import VTM

needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")

BANNER = "VVCSoftware: VTM Encoder Version 23.4 [Linux][GCC 12.2.0][64 bit] [SIMD=AVX2]"


def mean_error(image, other):
    return np.abs(image.astype(int) - other).mean()


@pytest.fixture
def no_vtm(tmp_path, monkeypatch):
    """A machine without VTM, with an empty folder for temporary files."""
    monkeypatch.delenv("RDBENCH_VTM_DIR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


@pytest.fixture
def stand_in(no_vtm, tmp_path, monkeypatch):
    """Makes stand-ins for EncoderApp and DecoderApp, and returns their folder.

    The encoder writes down its arguments and its input, and hands out a stream that VTM made. The decoder is
    ffmpeg's.
    """
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ffmpeg = find_ffmpeg(decoders=["vvc"])

    def make(stream: bytes = b"", encoder: str = "", decoder: str = "", suffix: str = "") -> Path:
        folder = tmp_path / "vtm"
        folder.mkdir(exist_ok=True)
        (folder / "stream").write_bytes(stream)
        (folder / "encoder_intra_vtm.cfg").write_text("# a configuration\n")
        encoder = encoder or (
            f"""echo "$@" > '{folder}/arguments'; cp in.yuv '{folder}'; cp '{folder}/stream' out.266"""
        )
        decoder = decoder or (f"""'{ffmpeg}' -v error -f vvc -i in.266 -f rawvideo out.yuv && cp in.266 '{folder}'""")
        # The programs get full paths; the folder of the first temporary file is where they work.
        scripts = {
            "EncoderApp": f"""if [ "$*" = --help ]; then echo '{BANNER}'; exit 1; fi
                cd "$(dirname "$4")"; {encoder}""",
            "DecoderApp": f"""cd "$(dirname "$2")"; {decoder}""",
        }
        for name, script in scripts.items():
            program = folder / (name + suffix)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        monkeypatch.setenv("RDBENCH_VTM_DIR", str(folder))
        return folder

    return make


@needs_shell
class TestCommand:
    def test_444_round_trip(self, stand_in, picture, stream_444):
        folder = stand_in(stream_444)
        image = picture(33, 31)
        data = VTM().encode(image, 27)
        assert data == stream_444
        arguments = (folder / "arguments").read_text().split()
        options = [argument for argument in arguments if not argument.startswith("--")]
        pairs = dict(zip(options[::2], options[1::2], strict=True))
        assert pairs["-c"] == str(folder / "encoder_intra_vtm.cfg")
        assert (pairs["-q"], pairs["-wdt"], pairs["-hgt"], pairs["-f"]) == ("27", "33", "31", "1")
        assert {"--InputChromaFormat=444", "--InputBitDepth=8", "--ConformanceWindowMode=1"} < set(arguments)
        # A file that is too short would keep EncoderApp busy for ever.
        assert (folder / "in.yuv").stat().st_size == 33 * 31 * 3
        decoded = VTM().decode(data)
        assert decoded.shape == image.shape
        assert decoded.flags["C_CONTIGUOUS"]
        assert mean_error(decoded, image) < 2

    def test_420_round_trip_of_odd_sides(self, stand_in, picture, stream_420):
        mark, plain = stream_420[:6], stream_420[6:]
        folder = stand_in(plain)
        image = picture(17, 24)
        data = VTM(chroma=420).encode(image, 27)
        assert data == mark + plain
        assert (folder / "in.yuv").stat().st_size == 18 * 24 * 3 // 2
        assert "-wdt 18 -hgt 24" in (folder / "arguments").read_text()
        decoded = VTM().decode(data)
        assert decoded.shape == image.shape
        assert mean_error(decoded, image) < 3

    def test_temporary_files_are_gone(self, stand_in, no_vtm, picture, stream_444):
        stand_in(stream_444)
        VTM().decode(VTM().encode(picture(33, 31), 27))
        assert not list(no_vtm.iterdir())

    def test_static_names(self, stand_in, picture, stream_444):
        stand_in(stream_444, suffix="Static")
        assert VTM().encode(picture(33, 31), 27) == stream_444


@needs_shell
class TestFailures:
    def test_time_limit(self, stand_in, no_vtm, picture, stream_444):
        stand_in(encoder="sleep 300 & sleep 300", decoder="sleep 300")
        with pytest.raises(EncodeError, match=r"^vtm: EncoderApp ran past its time limit of 0\.3 s$"):
            VTM(timeout=0.3).encode(picture(16, 16), 30)
        with pytest.raises(CodecError, match=r"^vtm: DecoderApp ran past its time limit of 0\.3 s$"):
            VTM(timeout=0.3).decode(stream_444)
        assert not list(no_vtm.iterdir())

    def test_encoder_error(self, stand_in, no_vtm, picture):
        stand_in(encoder="echo 'ERROR: In function x: wrong' >&2; exit 1")
        with pytest.raises(EncodeError, match=r"^vtm: EncoderApp failed with exit status 1: ERROR: .* wrong$"):
            VTM().encode(picture(16, 16), 30)
        stand_in(encoder="kill -ABRT $$")
        with pytest.raises(EncodeError, match=r"^vtm: EncoderApp crashed \(SIGABRT\)$"):
            VTM().encode(picture(16, 16), 30)
        stand_in(encoder="true")
        with pytest.raises(EncodeError, match=r"^vtm: EncoderApp wrote no stream$"):
            VTM().encode(picture(16, 16), 30)
        assert not list(no_vtm.iterdir())

    def test_decoder_error(self, stand_in, no_vtm, stream_444):
        stand_in(decoder="kill -SEGV $$")
        with pytest.raises(StreamError, match=r"^vtm: the stream cannot be decoded: DecoderApp crashed"):
            VTM().decode(stream_444)
        stand_in(decoder="printf 123 > out.yuv")
        with pytest.raises(StreamError, match=r"exactly one picture: a 33x31 picture has 6138 bytes .* not 3$"):
            VTM().decode(stream_444)
        stand_in(decoder="true")
        with pytest.raises(StreamError, match=r"exactly one picture: .* not 0$"):
            VTM().decode(stream_444)
        assert not list(no_vtm.iterdir())

    def test_damaged_streams(self, stand_in, stream_444):
        stand_in()
        for damaged in (b"", b"\x89PNG\r\n" + bytes(range(256)), stream_444[:60], stream_444[:-10]):
            with pytest.raises(StreamError) as caught:
                VTM().decode(damaged)
            assert "\n" not in str(caught.value)

    def test_image_and_rate(self, stand_in, picture):
        stand_in()
        for rate in (-1, 64, 30.5, float("nan")):
            with pytest.raises(RateError, match=r"^QP "):
                VTM().encode(picture(16, 16), rate)
        with pytest.raises(EncodeError, match="15x16: both sides must be at least 16"):
            VTM().encode(picture(15, 16), 30)


class TestOptions:
    def test_bad_values(self):
        with pytest.raises(OptionError, match=r"^vtm: chroma must be 444 or 420, not 422$"):
            load_codec("vtm", chroma=422)
        with pytest.raises(OptionError, match="chroma must be 444 or 420, not True"):
            load_codec("vtm", chroma=True)
        for timeout in (0, -3, float("inf"), float("nan"), "soon", True):
            with pytest.raises(OptionError, match=r"^vtm: timeout must be a positive number of seconds"):
                load_codec("vtm", timeout=timeout)
        with pytest.raises(OptionError, match="did you mean 'chroma'"):
            load_codec("vtm", chrome=444)

    def test_no_decode_options(self, stream_444):
        with pytest.raises(OptionError, match="codec 'vtm' has no decode option 'steps'"):
            VTM().decode(stream_444, steps=5)


@needs_shell
class TestFinding:
    def test_fingerprint_has_what_decides_the_output(self, stand_in):
        folder = stand_in()
        first = VTM().fingerprint()
        assert first["encoder"] == "VTM 23.4"
        assert VTM(timeout=5).fingerprint() == first
        assert VTM(chroma="444").fingerprint() == first
        assert VTM(chroma=420).fingerprint() != first
        (folder / "encoder_intra_vtm.cfg").write_text("# another configuration\n")
        assert VTM().fingerprint() != first
        assert str(folder) not in str(first)

    @pytest.mark.parametrize(
        ("programs", "config", "named"),
        [
            ("bin", "cfg", "."),
            ("bin", "cfg", "bin"),
            ("bin/umake/gcc-12.2/x86_64/release", "cfg", "."),
            ("bin/umake/gcc-12.2/x86_64/release", "cfg", "bin/umake/gcc-12.2/x86_64/release"),
            (".", "cfg", "."),
            ("bin", ".", "bin"),
        ],
    )
    def test_layouts(self, stand_in, tmp_path, monkeypatch, programs, config, named):
        made = stand_in()
        root = tmp_path / "VVCSoftware_VTM"
        for folder in (programs, config):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in ("EncoderApp", "DecoderApp"):
            (made / name).rename(root / programs / name)
        (made / "encoder_intra_vtm.cfg").rename(root / config / "encoder_intra_vtm.cfg")
        monkeypatch.setenv("RDBENCH_VTM_DIR", str(root / named))
        assert VTM().fingerprint()["encoder"] == "VTM 23.4"

    def test_on_path_through_links(self, stand_in, tmp_path, monkeypatch):
        made = stand_in()
        links = tmp_path / "elsewhere" / "bin"
        links.mkdir(parents=True)
        for name in ("EncoderApp", "DecoderApp"):
            (links / name).symlink_to(made / name)
        monkeypatch.delenv("RDBENCH_VTM_DIR")
        monkeypatch.setenv("PATH", str(links), prepend=os.pathsep)
        assert VTM().fingerprint()["encoder"] == "VTM 23.4"

    def test_what_is_missing(self, stand_in, no_vtm, tmp_path, monkeypatch):
        folder = stand_in()
        (folder / "encoder_intra_vtm.cfg").unlink()
        with pytest.raises(MissingDependencyError, match=r"no encoder_intra_vtm.cfg in or above .*/vtm: copy it"):
            VTM().check()
        (folder / "DecoderApp").unlink()
        with pytest.raises(MissingDependencyError, match="neither DecoderApp nor DecoderAppStatic in RDBENCH"):
            VTM().check()
        monkeypatch.delenv("RDBENCH_VTM_DIR")
        with pytest.raises(MissingDependencyError) as caught:
            VTM().check()
        message = str(caught.value)
        assert message.startswith("vtm: neither EncoderApp nor EncoderAppStatic in PATH: build VTM 19.2 or later")
        assert "https://vcgit.hhi.fraunhofer.de/jvet/VVCSoftware_VTM" in message
        assert "\n" not in message

    def test_a_program_that_is_not_vtm(self, stand_in):
        folder = stand_in()
        (folder / "EncoderApp").write_text("#!/bin/sh\necho hello\n")
        with pytest.raises(MissingDependencyError, match="EncoderApp does not name a VTM version"):
            VTM().check()


@pytest.fixture(scope="module")
def real_vtm():
    try:
        VTM().check()
    except MissingDependencyError as error:
        pytest.skip(f"needs VTM: {error}")


@pytest.mark.usefixtures("real_vtm")
class TestRealVTM:
    @pytest.mark.parametrize("chroma", [444, 420])
    @pytest.mark.parametrize("size", [(16, 16), (17, 16), (16, 17), (35, 21)])
    def test_every_size(self, picture, chroma, size):
        codec = VTM(chroma=chroma)
        image = picture(*size)
        data = codec.encode(image, 22)
        decoded = codec.decode(data)
        assert decoded.shape == image.shape
        assert mean_error(decoded, image) < 3
        assert codec.encode(image, 22) == data

    def test_streams_here_are_vtms(self, picture, stream_444, stream_420):
        # Later versions may well write others, but they must decode alike.
        for stream, size in ((stream_444, (33, 31)), (stream_420, (17, 24))):
            assert mean_error(VTM().decode(stream), picture(*size)) < 3

    def test_a_higher_qp_is_smaller_and_worse(self, picture):
        image = picture(24, 24)
        streams = [VTM().encode(image, qp) for qp in (0, 24, 40, 63)]
        errors = [mean_error(VTM().decode(stream), image) for stream in streams]
        assert [len(stream) for stream in streams] == sorted(map(len, streams), reverse=True)
        assert errors == sorted(errors)
        assert errors[0] < 1

    @pytest.mark.parametrize("chroma", [444, 420])
    def test_ffmpeg_decodes_the_same_samples(self, picture, tmp_path, monkeypatch, chroma):
        stream = VTM(chroma=chroma).encode(picture(35, 21), 30)
        source, theirs = tmp_path / "s.266", tmp_path / "ffmpeg.yuv"
        source.write_bytes(stream)
        ffmpeg = find_ffmpeg(decoders=["vvc"])
        run_program(
            [ffmpeg, "-v", "error", "-f", "vvc", "-i", source, "-f", "rawvideo",
             "-pix_fmt", f"yuv{chroma}p10le", theirs], timeout=60,
        )  # fmt: skip
        kept = {}

        def keep(codec, samples, info, *, peak):
            kept["samples"] = samples.read_bytes()
            return decoded_image(codec, samples, info, peak=peak)

        monkeypatch.setattr(vtm, "decoded_image", keep)
        VTM().decode(stream)
        assert theirs.read_bytes() == kept["samples"]

    def test_damaged_streams(self, picture):
        data = VTM().encode(picture(48, 48), 30)
        random = np.random.default_rng(0).bytes(500)
        for damaged in (b"", random, data[:20], data[: len(data) // 2], data[:-1]):
            with pytest.raises(StreamError) as caught:
                VTM().decode(damaged)
            assert "\n" not in str(caught.value)
