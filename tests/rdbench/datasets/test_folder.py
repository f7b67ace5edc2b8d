"""folder:PATH lists what is there, in an order that people expect, without reading it."""

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rdbench.datasets import DatasetError, ImageError, open_dataset
from rdbench.datasets.folder import FolderDataset, natural_key
from rdbench.datasets.image_file import SUFFIXES


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read")


def names(folder: Path) -> list[str]:
    return [item.name for item in open_dataset(f"folder:{folder}").items()]


def test_natural_order_through_subfolders(tmp_path: Path) -> None:
    touch(tmp_path, "img10.png", "img2.png", "Img1.PNG", "b/10.jpg", "b/9.jpg", "a2/x.webp", "a10/x.webp")
    assert names(tmp_path) == [
        "a2/x.webp", "a10/x.webp", "b/9.jpg", "b/10.jpg", "Img1.PNG", "img2.png", "img10.png",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 10**30), unique=True))
def test_numbers_sort_by_value(numbers: list[int]) -> None:
    paths = [PurePosixPath(f"set{number}/kodim{number}.png") for number in numbers]
    assert sorted(paths, key=natural_key) == [
        PurePosixPath(f"set{number}/kodim{number}.png") for number in sorted(numbers)
    ]


@given(st.lists(st.text("aB1٣²_.", min_size=1), unique=True))
def test_any_names_have_one_order(parts: list[str]) -> None:
    paths = [PurePosixPath(part) for part in parts]
    backwards = paths[::-1]
    assert sorted(paths, key=natural_key) == sorted(backwards, key=natural_key)


def test_only_images_and_nothing_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "notes.txt", "b.png.bak", ".hidden.png", "._a.png", ".cache/c.png", "png")
    assert names(tmp_path) == ["a.png"]


def test_every_known_ending_counts(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a{suffix}" for suffix in SUFFIXES))
    assert {PurePosixPath(name).suffix for name in names(tmp_path)} == SUFFIXES


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "real")
    assert names(tmp_path / "set") == ["linked/a.png"]


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert [name.encode() for name in names(tmp_path)] == [b"caf\\xe9.png"]


def test_relative_and_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "set/a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(Path("set")) == names(Path("~/set")) == ["a.png"]
    assert FolderDataset("set").name == "set"
    monkeypatch.chdir(tmp_path / "set")
    assert FolderDataset(".").name == "set"


def test_an_image_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    Image.new("RGB", (20, 16), (1, 2, 3)).save(tmp_path / "b.png")
    bad, good = open_dataset(f"folder:{tmp_path}").items()
    with pytest.raises(ImageError, match=r"a\.png: not an image"):
        bad.load()
    np.testing.assert_array_equal(good.load(), np.full((16, 20, 3), (1, 2, 3)))


def test_a_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DatasetError, match=r"^no images in '.*' or below it: it needs .* \.avif"):
        names(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere' does not exist: give the folder"):
        names(tmp_path / "nowhere")
    touch(tmp_path, "a.png")
    with pytest.raises(DatasetError, match=r"a\.png' is not a folder: give the folder"):
        names(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="does not exist"):
        names(Path("a" * 5000))


def test_no_folder_given() -> None:
    with pytest.raises(DatasetError, match="name a folder: 'folder:PATH'"):
        open_dataset("folder")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed(tmp_path: Path) -> None:
    touch(tmp_path, "closed/a.png")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(DatasetError, match=r"cannot list .*closed': Permission denied"):
            names(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_environment_variables_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDBENCH_DATA", str(tmp_path))
    (tmp_path / "set").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "set" / "a.png")
    assert [item.name for item in open_dataset("folder:${RDBENCH_DATA}/set").items()] == ["a.png"]
    monkeypatch.delenv("RDBENCH_DATA")
    with pytest.raises(DatasetError, match="needs the environment variable RDBENCH_DATA, which is not set"):
        open_dataset("folder:$RDBENCH_DATA/set")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (item,) = open_dataset(f"folder:{tmp_path}").items()
    for read in (item.load, item.digest):
        with pytest.raises(ImageError, match="not a file"):
            read()
