import re
import sys
import textwrap

import numpy as np
import pytest

from rdcodecs import Codec, CodecError, MissingDependencyError, OptionError, available_codecs, load_codec
from rdcodecs.registry import UnknownCodecError, codec_class, option_defaults

BUILT_IN = {"avif", "heic", "jpeg", "jpeg2000", "jxl", "vtm", "vvenc", "webp"}

# Keeps 4 to 8 bits of each sample: a codec of one's own in twenty lines.
ADAPTER = """
import struct
import zlib

import numpy as np

from rdcodecs import Codec, RateSpec


class Shift(Codec):
    name = "shift"
    rate = RateSpec("bits", 4, 8)

    def __init__(self, *, level=9):
        self.level = level

    def fingerprint(self):
        return {"codec": self.name, "version": 1, "level": self.level}

    def encode(self, image, rate):
        drop = 8 - int(self.rate.validate(rate))
        samples = zlib.compress((image >> drop).tobytes(), self.level)
        return struct.pack("<HHB", *image.shape[:2], drop) + samples

    def decode(self, data):
        height, width, drop = struct.unpack_from("<HHB", data)
        samples = np.frombuffer(zlib.decompress(data[5:]), np.uint8)
        return samples.reshape(height, width, 3) << drop


NUMBER = 5
"""


@pytest.fixture
def adapter(tmp_path):
    path = tmp_path / "my_codec.py"
    path.write_text(ADAPTER)
    return path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a module and its entry points, as pip would leave them."""

    def install(module, source, entry_points):
        site = tmp_path / "site"
        site.mkdir()
        (site / f"{module}.py").write_text(source)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        points = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
        (info / "entry_points.txt").write_text(f"[rdbench.codecs]\n{points}")
        monkeypatch.syspath_prepend(str(site))

    before = set(sys.modules)
    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_built_in_codecs_are_listed_in_order():
    names = list(available_codecs())
    assert set(names) >= BUILT_IN
    assert names == sorted(names)


@pytest.mark.parametrize("name", ["avif", "heic", "jpeg", "jpeg2000", "jxl", "webp"])
def test_a_built_in_codec_is_named_as_it_is_registered(name):
    codec = load_codec(name)
    assert isinstance(codec, Codec)
    assert codec.name == name


@pytest.mark.parametrize(
    ("name", "meant"), [("jpg", "jpeg"), ("jpeg200", "jpeg2000"), ("vvc", "vvenc"), ("AVIF2", None)]
)
def test_an_unknown_codec_gets_a_suggestion_or_the_list(name, meant):
    message = f"unknown codec '{name}': " + (f"did you mean '{meant}'?" if meant else "have avif, fusion, heic, ")
    with pytest.raises(UnknownCodecError, match="^" + re.escape(message)):
        load_codec(name)


def test_an_unknown_codec_is_a_codec_error():
    assert issubclass(UnknownCodecError, CodecError)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("jpeg", "subsample", "codec 'jpeg' has no option 'subsample': did you mean 'subsampling'?"),
        (
            "jpeg",
            "qp",
            "codec 'jpeg' has no option 'qp': its options: subsampling, progressive, optimize",
        ),
        ("jpeg2000", "method", "codec 'jpeg2000' has no option 'method': its options: none"),
    ],
)
def test_an_unknown_option_gets_a_suggestion_or_the_list(name, option, message):
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        load_codec(name, **{option: 1})


def test_option_defaults_are_those_of_init():
    assert option_defaults(codec_class("jpeg")) == {
        "subsampling": 420,
        "progressive": False,
        "optimize": True,
    }
    assert option_defaults(codec_class("jpeg2000")) == {}


def test_a_codec_from_a_file_works(adapter):
    codec = load_codec(f"{adapter}:Shift", level=1)
    image = np.random.default_rng(0).integers(0, 256, (17, 33, 3), dtype=np.uint8)
    np.testing.assert_array_equal(codec.decode(codec.encode(image, 8)), image)
    np.testing.assert_array_equal(codec.decode(codec.encode(image, 5)), image & 0xF8)
    assert codec.fingerprint()["level"] == 1


def test_options_of_a_codec_from_a_file_are_checked(adapter):
    with pytest.raises(OptionError, match=r"has no option 'levl': did you mean 'level'\?$"):
        load_codec(f"{adapter}:Shift", levl=1)


def test_a_file_is_loaded_once(adapter):
    assert codec_class(f"{adapter}:Shift") is codec_class(f"{adapter}:Shift")


def test_two_files_of_one_name_are_two_codecs(tmp_path):
    paths = [tmp_path / folder / "codec.py" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(ADAPTER.replace('"version": 1', f'"version": "{path.parent.name}"'))
    assert [load_codec(f"{path}:Shift").fingerprint()["version"] for path in paths] == ["a", "b"]


def test_a_relative_path_is_a_file_too(adapter, monkeypatch):
    monkeypatch.chdir(adapter.parent)
    assert load_codec("my_codec.py:Shift").name == "shift"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnknownCodecError, match=r"^no codec file '.*nowhere\.py'$"):
        load_codec(f"{tmp_path / 'nowhere.py'}:Shift")


@pytest.mark.parametrize("attribute", ["Shfit", "NUMBER", "np"])
def test_what_is_not_a_codec_class_in_a_file_is_refused(adapter, attribute):
    with pytest.raises(
        UnknownCodecError, match=rf"my_codec\.py:{attribute}' does not name a subclass of rdcodecs\.Codec$"
    ):
        load_codec(f"{adapter}:{attribute}")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import surely_not_installed", "ModuleNotFoundError: No module named"),
        ("class :", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: "),
    ],
)
def test_a_file_that_does_not_import_says_why(adapter, source, reason):
    adapter.write_text(source)
    for _ in range(2):  # a failed import leaves nothing behind that the next would find
        with pytest.raises(UnknownCodecError, match=f"cannot be imported: {reason}"):
            load_codec(f"{adapter}:Shift")


def test_a_codec_of_another_package_is_found(install):
    install("shift_package", ADAPTER, {"shift": "shift_package:Shift"})
    assert available_codecs()["shift"] == "shift_package:Shift"
    assert "shift_package" not in sys.modules  # listing imports nothing
    assert load_codec("shift", level=3).fingerprint()["level"] == 3
    with pytest.raises(UnknownCodecError, match="did you mean 'shift'"):
        load_codec("shfit")


def test_a_built_in_codec_cannot_be_replaced_by_another_package(install):
    install("shadow_package", ADAPTER, {"jpeg": "shadow_package:Shift"})
    assert load_codec("jpeg").name == "jpeg"


@pytest.mark.parametrize(
    ("entry_point", "error", "message"),
    [
        (
            "broken_package:Shift",
            MissingDependencyError,
            "codec 'mine' cannot be imported: No module named 'no_such_dependency'",
        ),
        (
            "no_such_module:Shift",
            MissingDependencyError,
            "codec 'mine' cannot be imported: No module named 'no_such_module'",
        ),
    ],
)
def test_an_entry_point_that_does_not_import_says_what_is_missing(install, entry_point, error, message):
    install("broken_package", textwrap.dedent("import no_such_dependency\n"), {"mine": entry_point})
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        load_codec("mine")


def test_an_entry_point_to_no_codec_is_refused(install):
    install("empty_package", "Shift = int\n", {"mine": "empty_package:Shift"})
    with pytest.raises(UnknownCodecError, match=r"^'mine' does not name a subclass of rdcodecs\.Codec$"):
        load_codec("mine")


def test_a_file_without_a_class_asks_for_it():
    with pytest.raises(UnknownCodecError, match=r"'mine\.py' is a file: name the class in it, 'mine\.py:Class'"):
        codec_class("mine.py")


def test_an_option_without_a_default_is_asked_for(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text(ADAPTER.replace("level=9", "model, level=9"))
    with pytest.raises(OptionError, match="needs a value for its option 'model', which has no default"):
        load_codec(f"{path}:Shift")


def test_a_relative_import_of_a_file_says_what_to_write(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from .other import thing\n")
    with pytest.raises(UnknownCodecError, match=r"write `from module import \.\.\.` for a module beside the file"):
        codec_class(f"{path}:Mine")
