from pathlib import Path

import numpy as np
import pytest

import faulty_codecs
import misbehaving_codecs
from rdbench.checking import Finding, check_codec
from rdbench.cli import main

MISBEHAVING = misbehaving_codecs.__file__


def findings(codec: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_codec(codec, {}, limit_s=60)}


def test_a_codec_that_keeps_to_its_interface_passes_all() -> None:
    found = findings(f"{faulty_codecs.__file__}:Quantizer")
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert set(found) >= {
        *("description", "round trip", "speed", "determinism", "threads", "16x16", "odd sides", "1:10", "gray"),
        *("noise", "header", "rates", "truncated", "damaged", "not a stream"),
    }
    size = len(faulty_codecs.Quantizer().encode(np.full((16, 16, 3), 128, np.uint8), 64))
    assert found["header"].detail == f"a flat 16x16 image at step 64 takes {size} bytes"


@pytest.mark.parametrize(
    ("name", "what", "said"),
    [
        ("InClass", "round trip", "has no attribute 'data'"),
        ("InHome", "determinism", "in a fresh process: ContractError: decode returned uint8 of shape (64, 64, 3)"),
        ("UnseededPid", "determinism", "two decodes of the same bytes differ: by up to 8 of 255 levels"),
        ("ScribblesByAddress", "round trip", "the codec wrote into the image it was given"),
        ("RaisesInCheck", "description", "RuntimeError: no device"),
        ("FingerprintChanges", "fingerprint", "it differs between two processes"),
        ("ReturnsMasked", "round trip", "not numpy.ndarray"),
        ("Honest", "truncated", "of 0 bytes: IndexError: index out of range (misbehaving_codecs.py:"),
    ],
)
def test_what_is_wrong_is_found(
    name: str, what: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    finding = findings(f"{MISBEHAVING}:{name}")[what]
    assert finding.verdict == "FAIL"
    assert said in finding.detail


OWN = """
import os
import numpy as np
from faulty_codecs import Quantizer


class Threaded(Quantizer):
    name = "threaded"

    def encode(self, image, rate):
        return super().encode(image, rate) + bytes([int(os.environ["OMP_NUM_THREADS"])])

    def decode(self, data, **options):
        return super().decode(data[:-1], **options)


class Sizes(Quantizer):
    name = "sizes"

    def encode(self, image, rate):
        assert image.shape[0] % 2 == 0, "even heights only"
        return super().encode(image, rate)


class Garbage(Quantizer):
    name = "garbage"

    def decode(self, data, **options):
        try:
            return super().decode(data, **options)
        except ValueError:
            return np.zeros((5, 5, 3), np.uint8)
"""


@pytest.mark.parametrize(
    ("name", "what", "verdict", "said"),
    [
        ("Threaded", "threads", "WARN", "results depend on --threads"),
        ("Sizes", "odd sides", "FAIL", "31x17: AssertionError: even heights only"),
        ("Garbage", "truncated", "FAIL", "taken for a stream: decode returned uint8 of shape (5, 5, 3)"),
    ],
)
def test_what_only_some_images_and_streams_show(name: str, what: str, verdict: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    finding = findings(f"{path}:{name}")[what]
    assert finding.verdict == verdict
    assert said in finding.detail


def test_the_command_prints_a_line_a_finding_and_its_status_is_for_ci(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "jpeg2000", "--rate", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok   ", "WARN ")) for line in lines[:-1])
    assert lines[-1].startswith("jpeg2000: 15 findings, 0 FAIL, ")
    assert main(["check", f"{MISBEHAVING}:RaisesInCheck"]) == 1
    assert "FAIL description: RuntimeError: no device" in capsys.readouterr().out


def test_options_reach_the_codec_and_wrong_ones_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "jpeg", "--option", "subsampling=411"]) == 1
    assert "FAIL description: " in capsys.readouterr().out
    assert main(["check", "jpeg", "--option", "subsampling"]) == 1
    assert "give a name and a value" in capsys.readouterr().err
    assert main(["check", "jpgg"]) == 1
    assert "did you mean 'jpeg'?" in capsys.readouterr().out
