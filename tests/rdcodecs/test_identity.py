import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rdcodecs.description import describe, full_fingerprint
from rdcodecs.identity import source_digest, source_files
from rdcodecs.registry import available_codecs, codec_class, is_shipped, load_codec

CODEC = """
import helper
from rdcodecs import Codec, RateSpec


class Mine(Codec):
    name = "mine"
    rate = RateSpec("step", 1, 64)
    default_rates = (4, 8)
    irrelevant_options = frozenset({"log"})

    def __init__(self, *, level=6, log="", weights=object()):
        self.level = level

    def fingerprint(self):
        return {"codec": "mine"}

    def encode(self, image, rate):
        import lazy
        return lazy.encode(image)

    def decode(self, data):
        import importlib
        return importlib.import_module("named").decode(data)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(CODEC)
    (tmp_path / "helper.py").write_text("from package.deep import value\nimport numpy, json\n")
    (tmp_path / "lazy.py").write_text("encode = bytes\n")
    (tmp_path / "named.py").write_text("from package import *\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from . import beside\n")
    (tmp_path / "package" / "deep.py").write_text("value = 1\n")
    (tmp_path / "package" / "beside.py").write_text("from .deep import value\n")
    (tmp_path / "unrelated.py").write_text("value = 1\n")
    return tmp_path


def fingerprint(folder: Path, **options: Any) -> dict[str, Any]:
    """Return the fingerprint as a fresh process finds it."""
    code = (
        "import json, sys\nfrom rdcodecs.description import *\nfrom rdcodecs.registry import *\n"
        "name, options = sys.argv[1], json.loads(sys.argv[2])\n"
        "cls, codec = codec_class(name), load_codec(name, **options)\n"
        "print(json.dumps(full_fingerprint(name, codec, own_source(cls, options)[0])))"
    )
    command = [sys.executable, "-c", code, f"{folder}/mine.py:Mine", json.dumps(options)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def test_what_a_codec_imports_from_beside_it_is_found_wherever_it_imports_it(folder: Path) -> None:
    names = {str(path.relative_to(folder)) for path in source_files(folder / "mine.py")}
    assert names == {
        "mine.py",
        "helper.py",
        "lazy.py",
        "named.py",
        "package/__init__.py",
        "package/beside.py",
        "package/deep.py",
    }


@pytest.mark.parametrize(
    "name", ["mine.py", "helper.py", "lazy.py", "named.py", "package/deep.py", "package/beside.py"]
)
def test_an_edit_anywhere_in_it_is_another_codec(folder: Path, name: str) -> None:
    def found() -> str:
        return source_digest(folder / "mine.py", source_files(folder / "mine.py"))

    before = found()
    (folder / "unrelated.py").write_text("value = 2\n")
    assert found() == before
    path = folder / name
    path.write_text(path.read_text() + "# edited\n")
    assert found() != before


def test_where_the_folder_lies_does_not_matter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    before = fingerprint(folder)
    folder.rename(elsewhere)
    assert fingerprint(elsewhere) == before


def test_options_and_class_join_the_fingerprint_but_for_those_that_do_not_matter(folder: Path) -> None:
    (folder / "helper.py").write_text("")
    plain = fingerprint(folder)
    assert plain["codec"] == "mine"
    assert plain["source"]["class"] == "Mine"
    assert plain["source"]["options"] == {"level": 6}
    assert fingerprint(folder, level=6) == plain
    assert fingerprint(folder, log="a file") == plain
    others = [fingerprint(folder, **options) for options in ({"level": 7}, {"level": "6"}, {"weights": "large"})]
    assert len({json.dumps(each, sort_keys=True) for each in [plain, *others]}) == 4


def test_an_author_cannot_hide_the_source_by_a_key_of_that_name(folder: Path) -> None:
    (folder / "helper.py").write_text("")
    path = folder / "mine.py"
    path.write_text(CODEC.replace('{"codec": "mine"}', '{"source": self.level}'))
    made = fingerprint(folder, level=3)
    assert made["source"]["said"] == 3
    assert len(made["source"]["sha256"]) == 64


def test_a_broken_import_or_a_file_with_an_error_is_no_obstacle(folder: Path) -> None:
    (folder / "lazy.py").write_text("def broken(:\n")
    (folder / "helper.py").write_text("import surely_not_there\nfrom . import nothing\nimport package.missing\n")
    names = {path.name for path in source_files(folder / "mine.py")}
    assert {"lazy.py", "helper.py", "__init__.py"} <= names


def test_libraries_and_this_package_are_not_the_author_s(folder: Path) -> None:
    (folder / "helper.py").write_text("import numpy, pytest, rdcodecs.pillow, rdbench.run, yaml\n")
    assert {path.name for path in source_files(folder / "helper.py")} == {"helper.py"}


@pytest.mark.parametrize("name", [name for name in available_codecs() if is_shipped(name)])
def test_the_fingerprint_of_a_codec_that_ships_is_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = codec_class(name)
    said = {"codec": name, "anything": object}
    monkeypatch.setattr(cls, "fingerprint", lambda _: said)
    assert full_fingerprint(name, load_codec(name), {"sha256": "1"}) is said


def test_a_package_s_own_modules_count_where_the_package_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    package = site / "theirs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "codec.py").write_text("from .network import layers\nimport theirs.extra, other\n")
    (package / "network.py").write_text("layers = 1\n")
    (package / "extra.py").write_text("")
    (site / "other.py").write_text("")
    found = {path.name for path in source_files(package / "codec.py", "theirs")}
    assert found == {"codec.py", "network.py", "__init__.py", "extra.py"}


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("name", 3, "its name must be a text"),
        ("name", " ", "its name must be a text"),
        ("rate", (1, 2), "its rate must be a RateSpec"),
        ("default_rates", ("a",), "its default rates must be numbers"),
        ("default_rates", (True,), "its default rates must be numbers"),
        ("default_rates", None, "its default rates must be numbers, not None"),
        ("default_rates", (50, 500), "its default rates do not fit its rate: quality 500 is out of range"),
        ("decode_options", ["steps"], "its decode options must be names"),
        ("decode_options", {"steps": object()}, "a decode option's default holds what cannot be written down"),
    ],
)
def test_what_a_codec_says_of_itself_is_checked(
    attribute: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_class("jpeg"), attribute, value)
    with pytest.raises(Exception, match=message):
        describe("jpeg", load_codec("jpeg"))


def test_default_rates_may_be_numbers_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_class("jpeg"), "default_rates", tuple(np.arange(10, 40, 10)))
    assert repr(describe("jpeg", load_codec("jpeg")).default_rates) == "(10, 20, 30)"


def test_a_description_survives_json() -> None:
    described = describe("webp", load_codec("webp"))
    again = type(described).from_json(json.loads(json.dumps(described.as_json())))
    assert again == described
