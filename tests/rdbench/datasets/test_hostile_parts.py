"""Parts of DiffusionDB that somebody tampered with: one line, no memory, nothing read outside the part."""

import io
import json
import os
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rdbench.datasets import DatasetError, ImageError
from rdbench.datasets.diffusiondb import DiffusionDB

NAME = "00000000-1111-4111-8111-000000000002.png"
INDEX = "part-000002.json"

OUTSIDE = [
    "../secret.png",
    "a/../../secret.png",
    "/etc/secret.png",
    "//host/share.png",
    "C:secret.png",
    "C:/secret.png",
    "..\\secret.png",
    "a\\..\\..\\secret.png",
    "./x.png",
    "a//x.png",
    "..",
    ".",
    "",
    "a/",
    "x\0.png",
    "x\n.png",
    "x\ud800.png",
    "n" * 300 + ".png",
]


def png(value: int = 7) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 24, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def index(*names: str, prompt: object = "a prompt") -> bytes:
    return json.dumps({name: {"p": prompt} for name in names}).encode()


def packed(folder: Path, write: Callable[[zipfile.ZipFile], None]) -> DiffusionDB:
    with zipfile.ZipFile(folder / "part-000002.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return DiffusionDB(folder, fetch=never)


def unpacked(folder: Path, files: dict[str, bytes]) -> DiffusionDB:
    part = folder / "part-000002"
    part.mkdir()
    for name, data in files.items():
        (part / name).write_bytes(data)
    return DiffusionDB(folder, fetch=never)


def never(name: str) -> Path:
    raise AssertionError(name)


def said(dataset: DiffusionDB) -> str:
    """The one line with which a dataset, or its only image, is refused."""
    with pytest.raises((DatasetError, ImageError)) as caught:
        [item.load() for item in dataset.items()]
    line = str(caught.value)
    assert line.isprintable()
    assert line.isascii() or str(dataset.path) in line
    assert "part-000002" in line
    return line.replace(str(dataset.path), "")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDBENCH_DATA", raising=False)
    monkeypatch.delenv("RDBENCH_MAX_MEMBER_BYTES", raising=False)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_a_zip(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())

    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(name))
        if "\ud800" not in name and name:
            archive.writestr(name, png())

    assert "which is no" in said(packed(tmp_path, write))


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_an_unpacked_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    assert "which is no" in said(unpacked(tmp_path, {INDEX: index(name, NAME), NAME: png()}))


def test_members_outside_that_no_json_names(tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        archive.writestr(NAME, png())
        archive.writestr("../../.bashrc", b"x")

    assert "it names '../../.bashrc', which is no file inside it" in said(packed(tmp_path, write))


def test_names_below_the_part_are_read(tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.mkdir("part-000002")
        archive.writestr(f"part-000002/{INDEX}", index(f"sub/ü {NAME}"))
        archive.writestr(f"part-000002/sub/ü {NAME}", png(9))

    (item,) = packed(tmp_path, write).items()
    assert item.load()[0, 0, 0] == 9


@pytest.mark.parametrize("twice", [NAME, INDEX])
def test_two_members_of_one_name(twice: str, tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        archive.writestr(NAME, png(1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(twice, index(NAME) if twice == INDEX else png(2))

    assert f"it holds '{twice}' twice" in said(packed(tmp_path, write))


def test_two_indices(tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        for folder in ("a/", "b/"):
            archive.writestr(folder + INDEX, index(NAME))

    assert f"it holds 2 files {INDEX}" in said(packed(tmp_path, write))


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    for which in (NAME, INDEX):

        def write(archive: zipfile.ZipFile, which: str = which) -> None:
            for name, data in ((INDEX, index(NAME)), (NAME, png())):
                info = zipfile.ZipInfo(name)
                if name == which:
                    info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, data)

        assert "is a link, not a file" in said(packed(tmp_path, write))


@pytest.mark.parametrize("which", [NAME, INDEX])
def test_an_encrypted_member(which: str, tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        archive.writestr(NAME, png())

    dataset = packed(tmp_path, write)
    path = tmp_path / "part-000002.zip"
    data = bytearray(path.read_bytes())
    # The flag stands in the member's own header and in the directory at the end.
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = data.rindex(mark) if which == NAME else data.index(mark)
        data[start + flags] |= 1
    path.write_bytes(data)
    assert "is encrypted" in said(dataset)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_whose_reader_has_no_bound(method: int, tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        archive.writestr(NAME, png(), compress_type=method)

    assert f"is packed by method {method}: only deflated and stored members are read" in said(packed(tmp_path, write))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        with archive.open(NAME, "w") as member:
            for _ in range(80):
                member.write(bytes(1 << 20))

    dataset = packed(tmp_path, write)
    assert (tmp_path / "part-000002.zip").stat().st_size < 200_000
    tracemalloc.start()
    try:
        line = said(dataset)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert "unpacks to 83886080 bytes, over the limit of 67108864 (RDBENCH_MAX_MEMBER_BYTES sets it)" in line


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        archive.writestr(NAME, bytes(50 << 20))

    dataset = packed(tmp_path, write)
    path = tmp_path / "part-000002.zip"
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = data.rindex(mark)
        data[start + at : start + at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    tracemalloc.start()
    try:
        assert "damaged" in said(dataset)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_on_a_member_is_settable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr(INDEX, index(NAME))
        archive.writestr(NAME, png())

    dataset = packed(tmp_path, write)
    length = len(png())
    for limit, fits in ((length, True), (length - 1, False)):
        monkeypatch.setenv("RDBENCH_MAX_MEMBER_BYTES", str(limit))
        if fits:
            assert dataset.items()[0].load().shape == (16, 24, 3)
        else:
            assert f"over the limit of {limit}" in said(dataset)
    for text in ("0", "-1", "64M", "1e9", "٦٤"):
        monkeypatch.setenv("RDBENCH_MAX_MEMBER_BYTES", text)
        assert "give a whole number of bytes above 0" in said(dataset)


def test_a_huge_index(tmp_path: Path) -> None:
    def write(archive: zipfile.ZipFile) -> None:
        with archive.open(INDEX, "w") as member:
            member.write(b"{")
            for _ in range(34):
                member.write(b" " * (1 << 20))
            member.write(b"}")

    limit = "over the limit of 33554432"
    assert limit in said(packed(tmp_path, write))
    other = tmp_path / "other"
    other.mkdir()
    dataset = unpacked(other, {INDEX: b""})
    with (other / "part-000002" / INDEX).open("r+b") as file:
        file.truncate(34 << 20)
    assert limit in said(dataset)


ODD: dict[str, bytes] = {
    "empty": b"",
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "not UTF-8": b'{"\xff": {"p": "x"}}',
    "cut": index(NAME)[:-3],
    "no prompt": json.dumps({NAME: {}}).encode(),
    "a prompt for a row": json.dumps({NAME: "text"}).encode(),
    "null prompt": index(NAME, prompt=None),
    "number prompt": index(NAME, prompt=7),
    "list prompt": index(NAME, prompt=["x"]),
    "twice": b'{"a.png": {"p": "x"}, "a.png": {"p": "y"}}',
    "prompt twice": b'{"a.png": {"p": "x", "p": "y"}}',
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_an_index_of_odd_content(content: bytes, tmp_path: Path) -> None:
    zips, folders = tmp_path / "zips", tmp_path / "folders"
    zips.mkdir()
    folders.mkdir()
    for dataset in (
        packed(zips, lambda archive: archive.writestr(INDEX, content)),
        unpacked(folders, {INDEX: content, NAME: png()}),
    ):
        assert len(said(dataset)) < 300


def test_an_index_with_a_byte_order_mark_and_half_a_character(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + json.dumps({NAME: {"p": "a \ud83d b"}}).encode()
    (item,) = unpacked(tmp_path, {INDEX: content, NAME: png()}).items()
    assert item.caption == "a ? b"


def test_links_in_an_unpacked_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    dataset = unpacked(tmp_path, {INDEX: index(NAME)})
    (tmp_path / "part-000002" / NAME).symlink_to(tmp_path / "secret.png")
    assert "a link that leads out of the folder of its part" in said(dataset)
    # The part itself, or its parent, may be a link.
    (tmp_path / "part-000002" / NAME).unlink()
    (tmp_path / "part-000002" / NAME).write_bytes(png(3))
    (tmp_path / "copy").symlink_to(tmp_path)
    assert DiffusionDB(tmp_path / "copy", fetch=never).items()[0].load()[0, 0, 0] == 3
    (tmp_path / "part-000002" / INDEX).unlink()
    (tmp_path / "index").write_bytes(index(NAME))
    (tmp_path / "part-000002" / INDEX).symlink_to(tmp_path / "index")
    assert "a link that leads out" in said(dataset)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that are files")
@pytest.mark.parametrize("which", [NAME, INDEX])
def test_what_is_no_file(which: str, tmp_path: Path) -> None:
    for make in (os.mkfifo, os.mkdir):
        folder = tmp_path / make.__name__
        folder.mkdir()
        dataset = unpacked(
            folder, {name: data for name, data in ((INDEX, index(NAME)), (NAME, png())) if name != which}
        )
        make(folder / "part-000002" / which)
        assert "not a file" in said(dataset)


def table(path: Path, **changes: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"image_name": [NAME], "image_nsfw": [0.1], "part_id": [2]} | changes
    parquet.write_table(pa.table({name: value for name, value in columns.items() if value is not None}), path)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_nsfw": ["low"]},
        {"part_id": ["two"]},
        {"part_id": None},
        {"image_name": None},
        {"image_nsfw": [[0.1]]},
        {"image_nsfw": [{"a": 1}]},
        {"image_name": [["a"]]},
    ],
)
def test_a_table_of_odd_content(changes: dict[str, Any], tmp_path: Path) -> None:
    unpacked(tmp_path, {INDEX: index(NAME), NAME: png()})
    table(tmp_path / "metadata.parquet", **changes)
    with pytest.raises(DatasetError, match=r"metadata\.parquet' is damaged|has no images") as caught:
        DiffusionDB(tmp_path, max_nsfw=0.5, fetch=never).items()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"text", bytes(5000)])
def test_a_damaged_table(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    unpacked(tmp_path, {INDEX: index(NAME), NAME: png()})
    (tmp_path / "metadata.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"metadata\.parquet' is damaged") as caught:
        DiffusionDB(tmp_path, max_nsfw=0.5, fetch=never).items()
    assert "\n" not in str(caught.value)


def test_a_table_that_unpacks_to_far_more_than_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked(tmp_path, {INDEX: index(NAME), NAME: png()})
    table(tmp_path / "metadata.parquet")
    for limit in ("_MOST_ROWS", "_MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(f"rdbench.datasets.diffusiondb.{limit}", 0)
            with pytest.raises(DatasetError, match=r"it says 1 rows and .* bytes, far more than the original"):
                DiffusionDB(tmp_path, max_nsfw=0.5, fetch=never).items()


def test_of_two_scores_of_one_image_the_higher_counts(tmp_path: Path) -> None:
    unpacked(tmp_path, {INDEX: index(NAME), NAME: png()})
    table(tmp_path / "metadata.parquet", image_name=[NAME, NAME], image_nsfw=[0.9, 0.1], part_id=[2, 2])
    with pytest.raises(DatasetError, match="raise max_nsfw"):
        DiffusionDB(tmp_path, max_nsfw=0.5, fetch=never).items()
