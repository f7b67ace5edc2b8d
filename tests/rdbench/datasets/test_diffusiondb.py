"""DiffusionDB is read in its own layout: zips or folders of parts, their JSON, and the metadata table."""

import functools
import http.server
import io
import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rdbench.datasets import DatasetError, ImageError, open_dataset
from rdbench.datasets.diffusiondb import DiffusionDB, hub_file
from rdbench.datasets.diffusiondb_layout import Part, subset_names, subset_parts

pytest.importorskip("pyarrow")
pytest.importorskip("huggingface_hub")

FIRST = subset_parts("2m_first_1k")[0]
RANDOM = subset_parts("2m_random_1k")[0]


def image(part: int, index: int) -> np.ndarray[Any, Any]:
    return np.full((16, 24, 3), (part % 251, part // 251, index), dtype=np.uint8)


def uuid(part: int, index: int) -> str:
    return f"{9 - index:08x}-1111-4111-8111-{part:012x}"


def contents(part: int, ending: str = "png") -> dict[str, bytes]:
    """The files of a part of three images, as in the original."""
    files, prompts = {}, {}
    for index in range(3):
        buffer = io.BytesIO()
        Image.fromarray(image(part, index)).save(buffer, ending, lossless=True)
        name = f"{uuid(part, index)}.{ending}"
        files[name] = buffer.getvalue()
        prompts[name] = {"p": f"prompt {part}-{index}, ünïcode", "se": 1, "c": 7.0, "st": 50, "sa": "k_lms"}
    files[f"part-{part:06d}.json"] = json.dumps(prompts, ensure_ascii=False).encode()
    return files


def write_zip(folder: Path, part: int, ending: str = "png", inside: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{part:06d}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents(part, ending).items():
            archive.writestr(inside + name, data)
    return path


def write_folder(folder: Path, part: int) -> Path:
    path = folder / f"part-{part:06d}"
    path.mkdir(parents=True)
    for name, data in contents(part).items():
        (path / name).write_bytes(data)
    return path


def write_table(path: Path, scores: dict[tuple[int, int], float | None]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "image_name": pa.array([f"{uuid(*key)}.png" for key in scores]),
        "prompt": pa.array([f"prompt {part}-{index}" for part, index in scores]),
        "part_id": pa.array([part for part, _ in scores], pa.uint16()),
        "seed": pa.array([1] * len(scores), pa.uint32()),
        "step": pa.array([50] * len(scores), pa.uint16()),
        "cfg": pa.array([7.0] * len(scores), pa.float32()),
        "sampler": pa.array([8] * len(scores), pa.uint8()),
        "width": pa.array([24] * len(scores), pa.uint16()),
        "height": pa.array([16] * len(scores), pa.uint16()),
        "user_name": pa.array(["deleted_account"] * len(scores)),
        "timestamp": pa.array([None] * len(scores), pa.timestamp("us", "UTC")),
        "image_nsfw": pa.array(list(scores.values()), pa.float32()),
        "prompt_nsfw": pa.array([0.0] * len(scores), pa.float32()),
    }
    parquet.write_table(pa.table(columns), path)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDBENCH_DATA", raising=False)


def never(name: str) -> Path:
    raise AssertionError(f"{name} was asked of the hub")


# ---- subsets


def test_subset_names_are_those_of_the_loading_script() -> None:
    assert {"2m_first_1k", "2m_random_500k", "2m_random_1m", "2m_all", "large_random_10m"} <= set(subset_names())
    assert "2m_random_5m" not in subset_names()
    assert len(subset_names()) == 2 * 7 + 2 * 9 + 2


def test_first_subsets_begin_at_the_second_part() -> None:
    assert subset_parts("2m_first_1k") == [Part("2m", 2)]
    assert subset_parts("2m_first_5k") == [Part("2m", number) for number in range(2, 7)]


def test_random_subsets_nest_and_are_spread_out() -> None:
    ten, fifty = subset_parts("2m_random_10k"), subset_parts("2m_random_50k")
    assert len(set(ten)) == 10
    assert set(subset_parts("2m_random_1k")) < set(ten) < set(fifty)
    assert fifty == sorted(fifty)
    assert 500 < np.mean([part.number for part in fifty]) < 1500
    assert {part.half for part in subset_parts("large_random_5k")} == {"large"}


def test_random_subsets_stay_what_they_are() -> None:
    # Rows of published results hang on this choice.
    assert Part("2m", 1948) == RANDOM


def test_all_parts_and_where_they_are() -> None:
    large = subset_parts("large_all")
    assert len(large) == 14000
    assert large[9_999].zip_name == "diffusiondb-large-part-1/part-010000.zip"
    assert large[10_000].zip_name == "diffusiondb-large-part-2/part-010001.zip"
    assert subset_parts("2m_all")[0].zip_name == "images/part-000001.zip"


# ---- a local copy


def check(dataset: DiffusionDB, parts: list[int], ending: str = "png") -> None:
    items = dataset.items()
    expected = [(part, index) for part in parts for index in (2, 1, 0)]  # by name
    assert [item.name for item in items] == [f"part-{p:06d}/{uuid(p, i)}.{ending}" for p, i in expected]
    for item, (part, index) in zip(items, expected, strict=True):
        assert item.caption == f"prompt {part}-{index}, ünïcode"
        np.testing.assert_array_equal(item.load(), image(part, index))


def test_zips_are_read_without_unpacking(tmp_path: Path) -> None:
    write_zip(tmp_path / "images", 10)
    write_zip(tmp_path / "images", 2)
    before = sorted(tmp_path.rglob("*"))
    check(DiffusionDB(tmp_path, fetch=never), [2, 10])
    assert sorted(tmp_path.rglob("*")) == before


def test_unpacked_parts(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", 2)
    write_zip(tmp_path / "images", 3)
    check(DiffusionDB(tmp_path, fetch=never), [2, 3])


def test_the_zip_counts_where_unpacking_was_cut_short(tmp_path: Path) -> None:
    write_zip(tmp_path / "images", 2)
    (write_folder(tmp_path / "images", 2) / "part-000002.json").unlink()
    check(DiffusionDB(tmp_path, fetch=never), [2])


def test_a_folder_of_the_parts_themselves(tmp_path: Path) -> None:
    write_zip(tmp_path, 2)
    check(DiffusionDB(tmp_path, fetch=never), [2])


def test_a_zip_that_holds_the_folder(tmp_path: Path) -> None:
    write_zip(tmp_path, 2, inside="part-000002/")
    check(DiffusionDB(tmp_path, fetch=never), [2])


def test_the_large_half(tmp_path: Path) -> None:
    write_zip(tmp_path / "diffusiondb-large-part-2", 10001, "webp")
    write_zip(tmp_path / "diffusiondb-large-part-1", 7, "webp")
    check(DiffusionDB(tmp_path, fetch=never), [7, 10001], "webp")
    check(DiffusionDB(tmp_path / "diffusiondb-large-part-1", fetch=never), [7], "webp")
    write_zip(tmp_path / "images", 7)
    check(DiffusionDB(tmp_path, fetch=never), [7])


def test_a_subset_of_a_copy(tmp_path: Path) -> None:
    for number in (1, FIRST.number, 9):
        write_zip(tmp_path / "images", number)
    check(DiffusionDB(tmp_path, "2m_first_1k", fetch=never), [FIRST.number])
    with pytest.raises(DatasetError, match=r"lacks images/part-000003\.zip and 3 more of 2m_first_5k"):
        DiffusionDB(tmp_path, "2m_first_5k", fetch=never).items()


def test_rdbench_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "diffusiondb" / "images", RANDOM.number)
    monkeypatch.setenv("RDBENCH_DATA", str(tmp_path))
    dataset = open_dataset("diffusiondb")
    assert isinstance(dataset, DiffusionDB)
    assert dataset.name == "diffusiondb-2m_random_1k"
    check(dataset, [RANDOM.number])


def test_digests_differ_between_images_and_follow_the_bytes(tmp_path: Path) -> None:
    write_zip(tmp_path, 2)
    digests = [item.digest() for item in DiffusionDB(tmp_path).items()]
    assert len(set(digests)) == 3
    (tmp_path / "part-000002.zip").unlink()
    write_folder(tmp_path, 2)
    assert [item.digest() for item in DiffusionDB(tmp_path).items()] == digests


# ---- the metadata table


@pytest.mark.parametrize("place", [".", "images"])
def test_max_nsfw(tmp_path: Path, place: str) -> None:
    write_zip(tmp_path / "images", 2)
    write_zip(tmp_path / "images", 3)
    scores = {(2, 0): 0.1, (2, 1): 0.7, (2, 2): 2.0, (3, 0): None, (3, 1): 0.71, (3, 2): 0.0}
    write_table(tmp_path / "metadata.parquet", scores)
    dataset = open_dataset(f"diffusiondb:{tmp_path / place},max_nsfw=0.7")
    assert dataset.name == "diffusiondb-nsfw0.7"
    assert [item.caption for item in dataset.items()] == [
        "prompt 2-1, ünïcode", "prompt 2-0, ünïcode", "prompt 3-2, ünïcode",
    ]  # fmt: skip


def test_max_nsfw_that_leaves_nothing(tmp_path: Path) -> None:
    write_zip(tmp_path / "images", 2)
    write_table(tmp_path / "metadata.parquet", {(2, 0): 0.9, (2, 1): 0.9, (2, 2): 0.9})
    with pytest.raises(DatasetError, match=r"^diffusiondb-nsfw0\.5 has no images: raise max_nsfw$"):
        open_dataset(f"diffusiondb:{tmp_path},max_nsfw=0.5").items()


def test_max_nsfw_without_a_table(tmp_path: Path) -> None:
    write_zip(tmp_path / "images", 2)
    with pytest.raises(DatasetError, match=r"max_nsfw needs metadata\.parquet, which is not in"):
        DiffusionDB(tmp_path, max_nsfw=0.5).items()
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1 is how it begins")
    with pytest.raises(DatasetError, match=r"metadata\.parquet' is damaged \(.*\): delete it"):
        DiffusionDB(tmp_path, max_nsfw=0.5).items()


# ---- damage


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.95])
def test_a_damaged_zip(tmp_path: Path, kept: float) -> None:
    path = write_zip(tmp_path / "images", 2)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    with pytest.raises(DatasetError) as caught:
        DiffusionDB(tmp_path).items()
    assert one_line(caught) == f"'{path}' is damaged (File is not a zip file): delete it and get it again"


def test_a_damaged_image_in_a_zip_fails_alone(tmp_path: Path) -> None:
    path = write_zip(tmp_path, 2)
    data = bytearray(path.read_bytes())
    position = data.index(b"IDAT")
    data[position + 6] ^= 1
    path.write_bytes(data)
    results: list[tuple[int, ...] | str] = []
    for item in DiffusionDB(tmp_path).items():
        try:
            results.append(item.load().shape)
        except ImageError as error:
            results.append(str(error))
    [message] = [result for result in results if isinstance(result, str)]
    assert message.startswith(f"{path}:{uuid(2, 0)}.png: damaged or truncated (Bad CRC-32")
    assert results.count((16, 24, 3)) == 2


def test_an_image_that_is_not_in_the_zip(tmp_path: Path) -> None:
    path = tmp_path / "part-000002.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("part-000002.json", contents(2)["part-000002.json"])
    item = DiffusionDB(tmp_path).items()[0]
    with pytest.raises(ImageError, match=r"000002\.zip:.*\.png: not in the zip, although its JSON names it"):
        item.load()


@pytest.mark.parametrize("text", ["[1, 2]", '{"a.png": "prompt"}', '{"a.png": {}}', "{", "\xff"])
def test_a_json_of_another_kind(tmp_path: Path, text: str) -> None:
    folder = write_folder(tmp_path, 2)
    (folder / "part-000002.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError) as caught:
        DiffusionDB(tmp_path).items()
    assert "is damaged (its JSON does not map image names to prompts): delete it" in one_line(caught)


def test_a_part_without_its_json(tmp_path: Path) -> None:
    (write_folder(tmp_path / "a", 2) / "part-000002.json").unlink()
    with pytest.raises(DatasetError, match=r"part-000002' has no part-000002\.json: get this part again"):
        DiffusionDB(tmp_path / "a").items()
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "b" / "part-000002.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing else")
    with pytest.raises(DatasetError, match=r"000002\.zip' has no part-000002\.json: get this part again"):
        DiffusionDB(tmp_path / "b").items()


def test_a_folder_without_parts(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no parts of DiffusionDB in .*: it needs images/part"):
        DiffusionDB(tmp_path).items()
    with pytest.raises(DatasetError, match=r"cannot list '.*nowhere': No such file or directory"):
        DiffusionDB(tmp_path / "nowhere").items()


# ---- the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """What the hub's client asks of the hub to download a file."""

    files: dict[str, bytes]

    def answer(self, *, body: bool) -> None:
        name = self.path.removeprefix("/datasets/poloclub/diffusiondb/resolve/main/")
        data = self.files.get(name)
        self.send_response(404 if data is None else 200)
        if data is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{name.replace("/", "-")}"')
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if body and data:
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_missing_parts_come_from_the_hub(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "source", RANDOM.number)
    table = tmp_path / "source" / "metadata.parquet"
    write_table(table, {(RANDOM.number, 0): 0.1, (RANDOM.number, 1): 0.9, (RANDOM.number, 2): 0.2})
    files = {RANDOM.zip_name: path.read_bytes(), "metadata.parquet": table.read_bytes()}
    monkeypatch.setattr(Hub, "files", files, raising=False)
    fetch = functools.partial(hub_file, endpoint=hub, cache_dir=tmp_path / "cache")
    check(DiffusionDB(fetch=fetch), [RANDOM.number])
    captions = [item.caption for item in DiffusionDB(max_nsfw=0.5, fetch=fetch).items()]
    assert captions == [f"prompt {RANDOM.number}-{index}, ünïcode" for index in (2, 0)]


def test_a_part_that_the_hub_does_not_have(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "files", {}, raising=False)
    fetch = functools.partial(hub_file, endpoint=hub, cache_dir=tmp_path / "cache")
    with pytest.raises(DatasetError) as caught:
        DiffusionDB(fetch=fetch).items()
    message = one_line(caught)
    assert message.startswith(f"{RANDOM.zip_name} of poloclub/diffusiondb cannot be downloaded (")
    assert message.endswith("give a local copy, diffusiondb:PATH or RDBENCH_DATA/diffusiondb")


def test_parts_at_hand_are_not_downloaded(tmp_path: Path) -> None:
    first, *others = subset_parts("2m_first_5k")
    for part in others:
        write_zip(tmp_path / "diffusiondb" / "images", part.number)
    source = write_zip(tmp_path / "hub", first.number)
    asked = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return source

    dataset = DiffusionDB(subset="2m_first_5k", root=tmp_path, fetch=fetch)
    check(dataset, [part.number for part in (first, *others)])
    assert asked == [first.zip_name]


def test_no_hub_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DatasetError, match=r'to download DiffusionDB pip install "rdbench\[diff'):
        DiffusionDB().items()


def test_no_parquet_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path, 2)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DatasetError, match=r'max_nsfw reads a Parquet table: pip install "rdbench\[diff'):
        DiffusionDB(tmp_path, max_nsfw=0.5).items()
    check(DiffusionDB(tmp_path), [2])


# ---- options


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("diffusiondb", "diffusiondb-2m_random_1k"),
        ("diffusiondb:large_first_5k", "diffusiondb-large_first_5k"),
        ("diffusiondb:max_nsfw=0.5", "diffusiondb-2m_random_1k-nsfw0.5"),
        ("diffusiondb:2m_all,max_nsfw=1", "diffusiondb-2m_all-nsfw1"),
        ("diffusiondb:/some/where", "diffusiondb"),
        ("diffusiondb:/some/where,subset=2m_first_1k", "diffusiondb-2m_first_1k"),
    ],
)
def test_spec(spec: str, name: str) -> None:
    assert open_dataset(spec).name == name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "diffusiondb:2m_random_2k",
            "unknown DiffusionDB subset or folder '2m_random_2k': did you mean '2m_random_5k'",
        ),
        (
            "diffusiondb:/x,subset=2m_firts_1k",
            "unknown DiffusionDB subset '2m_firts_1k': did you mean '2m_first_1k'",
        ),
        ("diffusiondb:2m_all,max_nsw=1", "unknown option of diffusiondb 'max_nsw': did you mean 'max_nsfw'"),
        ("diffusiondb:max_nsfw=some", "max_nsfw is 'some': use a number from 0 to 2"),
        ("diffusiondb:max_nsfw=nan", "max_nsfw is 'nan': use a number from 0 to 2"),
    ],
)
def test_a_wrong_spec(spec: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        open_dataset(spec)
    assert one_line(caught).startswith(message)
