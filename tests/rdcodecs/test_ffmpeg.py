import sys
from pathlib import Path

import imageio_ffmpeg
import pytest

from rdcodecs import MissingDependencyError
from rdcodecs.ffmpeg import ffmpeg_version, find_ffmpeg

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are shell scripts")

LISTING = """\
Encoders:
 V..... = Video
 .F.... = Frame-level multithreading
 ------
 V....D libvvenc             libvvenc H.266 / VVC (codec vvc)
 V....D vvc_qsv              VVC video (codec vvc)
"""


def fake_ffmpeg(folder: Path, listing: str = LISTING) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "listing").write_text(listing)
    program = folder / "ffmpeg"
    program.write_text(
        f"""#!/bin/sh
echo "$*" >> '{folder}/calls'
case "$*" in
  -version) echo 'ffmpeg version 8.1-fake Copyright (c)';;
  *-encoders) cat '{folder}/listing';;
esac
"""
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def only_on_path(tmp_path, monkeypatch):
    """Fake ffmpegs: the bundled one without any codec, and one on PATH that has libvvenc."""
    bundled = fake_ffmpeg(tmp_path / "bundled", listing="")
    other = fake_ffmpeg(tmp_path / "path")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(bundled))
    monkeypatch.setenv("PATH", str(other.parent), prepend=":")
    return bundled, other


def test_the_bundled_one_is_taken_where_it_will_do(monkeypatch):
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    found = find_ffmpeg(encoders=["rawvideo"], decoders=["rawvideo"], filters=["scale"])
    assert found == Path(imageio_ffmpeg.get_ffmpeg_exe())


def test_the_one_on_path_is_taken_where_the_bundled_lacks_something(only_on_path):
    bundled, other = only_on_path
    assert find_ffmpeg() == bundled
    assert find_ffmpeg(encoders=["libvvenc"]) == other


def test_says_what_each_one_lacks(only_on_path):
    bundled, other = only_on_path
    with pytest.raises(MissingDependencyError) as caught:
        find_ffmpeg(encoders=["libvvenc"], filters=["libvmaf"])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("no ffmpeg with encoder libvvenc, filter libvmaf: ")
    assert f"{bundled} lacks encoder libvvenc, filter libvmaf; {other} lacks filter libvmaf;" in message


def test_a_name_must_match_whole(only_on_path):
    with pytest.raises(MissingDependencyError, match="lacks encoder vvc"):
        find_ffmpeg(encoders=["vvc"])
    with pytest.raises(MissingDependencyError, match="lacks encoder ="):
        find_ffmpeg(encoders=["="])


def test_no_ffmpeg_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "gone"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="there is no ffmpeg at all"):
        find_ffmpeg(encoders=["libvvenc"])


def test_each_binary_is_asked_once(only_on_path):
    _, other = only_on_path
    for _ in range(3):
        find_ffmpeg(encoders=["libvvenc"])
        ffmpeg_version(other)
    calls = (other.parent / "calls").read_text().splitlines()
    assert len(calls) == len(set(calls)) == 4


def test_version(only_on_path, tmp_path):
    assert ffmpeg_version(only_on_path[1]) == "8.1-fake"
    with pytest.raises(MissingDependencyError, match="true is not an ffmpeg"):
        ffmpeg_version(Path("/usr/bin/true"))
    with pytest.raises(MissingDependencyError, match="nothing cannot be started"):
        ffmpeg_version(tmp_path / "nothing")
