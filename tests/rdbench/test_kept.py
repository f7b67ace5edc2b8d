import hashlib
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from rich.console import Console

import faulty_codecs
from rdbench.cell import Cell
from rdbench.experiment import validate_experiment
from rdbench.kept import (
    keep_reconstruction,
    keep_stream,
    kept_reconstruction,
    kept_stream,
    reconstruction_path,
    stream_path,
)
from rdbench.keys import cell_key, digest, encode_key
from rdbench.records import load_records
from rdbench.run import run

QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"
RESERVED = {"con", "nul", "aux", "prn", "com1", "lpt1"}
PICTURE = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)


def cell(image: str = "a.png", *, content: str = "1", rate: float = 8, **changes: Any) -> Cell:
    encode = encode_key(content, "fingerprint", rate)
    facts = {
        "key": cell_key(encode, "{}"),
        "encode_key": encode,
        "label": "q",
        "codec": "quantizer",
        "fingerprint": digest("fingerprint"),
        "image": image,
        "image_hash": content,
        "dataset": "d",
        "rate": rate,
        "codec_options": {},
        "decode_options": {},
        "measured": "",
    }
    return Cell(**facts | changes)


NAMES = [
    "a b.png",
    "a_b.png",
    "A b.png",
    "..",
    ".",
    "",
    "/",
    ".png",
    "con.png",
    "NUL",
    "x" * 400,
    "x" * 400 + ".png",
    "é" * 200,
]
NAMES += [
    "日本" * 90 + ".png",
    "../../up.png",
    "a\udcff.png",
    "e\u0301.png",
    "\u00e9.png",
    "a:b*c?.png",
    "a\0b.png",
    "trailing. ",
]


@pytest.mark.parametrize("path", [stream_path, reconstruction_path])
def test_each_picture_has_a_file_of_its_own_inside_the_folder(tmp_path: Path, path: Any) -> None:
    cells = [cell(name, content=str(number), codec=name) for number, name in enumerate(NAMES)]
    paths = [path(tmp_path, each) for each in cells]
    assert len({str(each).casefold() for each in paths}) == len(NAMES)
    for each in paths:
        _, folder, name = each.relative_to(tmp_path).parts
        for part in (folder, name):
            assert len(part.encode()) <= 200
            assert part.split(".")[0].casefold() not in RESERVED
            assert not part.startswith(".")
            assert set(part.casefold()).isdisjoint('<>:"/\\|?*\0 ')


def test_names_say_what_is_in_the_file(tmp_path: Path) -> None:
    path = reconstruction_path(tmp_path, cell("sub/kodim01.png", rate=0.5))
    assert path.name.startswith("sub_kodim01@0.5-")
    assert path.parent.name.startswith("quantizer-")
    assert path.parent.parent.name == "reconstructions"


def test_rates_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    assert stream_path(tmp_path, cell(rate=1.0000001)) != stream_path(tmp_path, cell(rate=1.0000002))


def test_a_kept_stream_is_found_by_its_digest_only(tmp_path: Path) -> None:
    keep_stream(tmp_path, cell(), b"stream")
    right = hashlib.sha256(b"stream").hexdigest()
    assert kept_stream(tmp_path, cell(label="other"), right) == b"stream"
    assert kept_stream(tmp_path, cell(), hashlib.sha256(b"").hexdigest()) is None
    assert kept_stream(tmp_path, cell(content="2"), right) is None


def test_a_link_out_of_the_folder_is_neither_written_nor_read_through(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    keep_reconstruction(elsewhere, cell(), PICTURE)
    (out / "reconstructions").symlink_to(elsewhere / "reconstructions")
    before = sorted(elsewhere.rglob("*"))
    assert kept_reconstruction(out, cell()) is None
    with pytest.raises(Exception, match="is a link out of the results folder"):
        keep_reconstruction(out, cell(content="2"), PICTURE)
    assert sorted(elsewhere.rglob("*")) == before
    found = kept_reconstruction(elsewhere, cell())
    assert found is not None
    assert np.array_equal(np.asarray(PILImage.open(found)), PICTURE)
    assert kept_reconstruction(elsewhere, cell(fingerprint="../../../x")) is None


def test_names_and_labels_that_look_alike_are_all_kept(tmp_path: Path, thread: Executor, console: Console) -> None:
    images = tmp_path / "images"
    names = ["a b.png", "a_b.png", "A b.png", "x" * 240 + ".png", "con.png"]
    images.mkdir()
    for number, name in enumerate(names):
        PILImage.fromarray(np.roll(PICTURE, number, axis=0)).save(images / name)
    labels = ["q (a)", "q [a]", "..", ".", "A", "a"]
    codecs = [
        {"codec": QUANTIZER, "label": label, "options": {"level": level + 1}, "rates": [8, 32]}
        for level, label in enumerate(labels)
    ]
    out = tmp_path / "out"
    data = {"name": "e", "dataset": f"folder:{images}", "codecs": codecs, "metrics": ["psnr"]}
    result = run(validate_experiment(data), out, executor=thread, console=console, keep=True)
    assert result.failed == 0
    wanted = len(names) * len(labels) * 2
    for kind in ("streams", "reconstructions"):
        files = [file for file in (out / kind).rglob("*") if file.is_file()]
        assert len(files) == wanted
        assert len({str(file).casefold() for file in files}) == wanted
    assert len(load_records(out)) == wanted
    assert not list(out.parent.glob("*.png"))
