import contextlib
import os
import time
from pathlib import Path

import pytest

from rdbench.files import OutsideError, atomic_bytes, atomic_text, check_inside, make_folder, sweep_parts, write_bytes


def test_a_file_is_replaced_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_bytes(path, b"old")
    for opened in (atomic_text, atomic_bytes):
        with contextlib.suppress(KeyboardInterrupt), opened(path):
            raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127)
    with atomic_text(path) as file:
        file.write("x")
    assert path.read_text() == "x"


def test_what_no_utf8_file_can_hold_is_escaped(tmp_path: Path) -> None:
    with atomic_text(tmp_path / "a") as file:
        file.write("a\udcff")
    assert (tmp_path / "a").read_bytes() == rb"a\udcff"


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    link = tmp_path / "link"
    for write in (lambda: write_bytes(link, b"x"), lambda: atomic_text(link).__enter__()):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        write()
    write_bytes(link, b"x")
    assert target.read_text() == "precious"
    assert not link.is_symlink()


def test_a_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_links_that_lead_out_of_a_folder_are_refused(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "results", tmp_path / "elsewhere"
    (root / "inside").mkdir(parents=True)
    elsewhere.mkdir()
    for name, target in {
        "out": elsewhere,
        "dangling": tmp_path / "none",
        "in": root / "inside",
        "round": root / "round",
    }.items():
        (root / name).symlink_to(target)
    (tmp_path / "results-too").mkdir()
    (root / "sibling").symlink_to(tmp_path / "results-too")
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    for place in (root, linked):
        for name in ("out", "out/deeper", "dangling", "round", "sibling", "../elsewhere"):
            with pytest.raises(OutsideError, match=r"is a link out of the results folder"):
                make_folder(place, place / name)
        make_folder(place, place / "in" / "new")
        make_folder(place, place / "plots")
    assert (root / "inside" / "new").is_dir()
    assert not list(elsewhere.iterdir())


def test_a_path_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutsideError):
        check_inside(tmp_path, tmp_path / "a\0b")


def test_what_killed_runs_left_behind_is_swept(tmp_path: Path) -> None:
    fresh, old, other = tmp_path / ".a.part", tmp_path / ".b.part", tmp_path / "c.part"
    for file in (fresh, old, other):
        file.touch()
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(old, (yesterday, yesterday))
    os.utime(other, (yesterday, yesterday))
    sweep_parts(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {".a.part", "c.part"}
