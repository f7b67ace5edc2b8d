"""Kodak's images are the right ones, wherever they come from."""

import hashlib
import http.server
import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rdbench.datasets import DatasetError, ImageError, open_dataset
from rdbench.datasets.kodak import PIXELS, KodakDataset

DATA = Path(os.environ.get("RDBENCH_DATA", "nowhere"))  # before the fixture below hides it
RNG = np.random.default_rng(3)
IMAGES = {f"kodim0{n}.png": RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8) for n in (1, 2, 3)}
SUMS = {name: hashlib.sha256(image.tobytes()).hexdigest() for name, image in IMAGES.items()}


def png(image: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def fill(folder: Path, *names: str, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(png(IMAGES[name], **options))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RDBENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "rdbench" / "kodak"


class Server(http.server.ThreadingHTTPServer):
    """Serves the images, and remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {f"/kodak/{name}": png(image) for name, image in IMAGES.items()}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/kodak/"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def check(dataset: KodakDataset) -> None:
    items = dataset.items()
    assert [item.name for item in items] == list(IMAGES)
    for item in items:
        np.testing.assert_array_equal(item.load(), IMAGES[item.name])


def test_the_list_is_of_24_different_images() -> None:
    assert list(PIXELS) == [f"kodim{number:02d}.png" for number in range(1, 25)]
    assert len(set(PIXELS.values())) == 24
    assert all(len(bytes.fromhex(value)) == 32 for value in PIXELS.values())


@pytest.mark.skipif(not (DATA / "kodak").is_dir(), reason="RDBENCH_DATA has no folder kodak")
def test_the_real_images() -> None:
    sizes = [item.load().shape for item in KodakDataset(DATA).items()]
    assert sorted(set(sizes)) == [(512, 768, 3), (768, 512, 3)]
    assert sizes.count((768, 512, 3)) == 6


@pytest.mark.parametrize("place", ["kodak", "."])
def test_a_local_folder(tmp_path: Path, place: str) -> None:
    fill(tmp_path / place, *IMAGES)
    check(KodakDataset(tmp_path, pixels=SUMS))


def test_rdbench_data_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "kodak", *IMAGES)
    monkeypatch.setenv("RDBENCH_DATA", str(tmp_path))
    check(KodakDataset(pixels=SUMS))
    monkeypatch.setenv("RDBENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"no folder '.*nowhere' \(from RDBENCH_DATA\)"):
        KodakDataset(pixels=SUMS).items()


def test_files_compressed_anew_are_the_same_images(tmp_path: Path) -> None:
    fill(tmp_path / "kodak", *IMAGES, compress_level=1)
    check(KodakDataset(tmp_path, pixels=SUMS))


def test_another_image_under_the_name_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "kodak", *IMAGES)
    (folder / "kodim02.png").write_bytes(png(IMAGES["kodim01.png"]))
    items = KodakDataset(tmp_path, pixels=SUMS).items()
    np.testing.assert_array_equal(items[0].load(), IMAGES["kodim01.png"])
    with pytest.raises(ImageError, match=r"kodim02\.png: these are not the pixels of the Kodak image"):
        items[1].load()


def test_a_folder_with_some_of_the_images(tmp_path: Path) -> None:
    fill(tmp_path / "kodak", "kodim02.png")
    with pytest.raises(DatasetError, match=r"lacks 2 of the 3 Kodak images: add kodim01\.png, kodim03\.png"):
        KodakDataset(tmp_path, pixels=SUMS).items()


def test_download_once(server: Server, cache: Path) -> None:
    check(KodakDataset(base_url=server.url, pixels=SUMS))
    assert sorted(path.name for path in cache.iterdir()) == sorted(IMAGES)
    assert len(server.asked) == 3
    check(KodakDataset(base_url=server.url, pixels=SUMS))
    assert len(server.asked) == 3


def test_download_of_what_is_missing(server: Server, cache: Path) -> None:
    fill(cache, "kodim01.png", "kodim03.png")
    check(KodakDataset(base_url=server.url, pixels=SUMS))
    assert server.asked == ["/kodak/kodim02.png"]


@pytest.mark.parametrize(
    "wrong", [png(IMAGES["kodim01.png"]), png(IMAGES["kodim02.png"])[:300], b"<html>log in first</html>", b""]
)
def test_a_download_that_is_not_the_image(server: Server, cache: Path, wrong: bytes) -> None:
    server.files["/kodak/kodim02.png"] = wrong
    with pytest.raises(DatasetError, match=r"^what http.*kodim02\.png gave is not the Kodak image"):
        KodakDataset(base_url=server.url, pixels=SUMS).items()
    assert [path.name for path in cache.iterdir()] == ["kodim01.png"]


def test_a_download_that_is_not_there(server: Server) -> None:
    del server.files["/kodak/kodim01.png"]
    with pytest.raises(DatasetError, match=r"01\.png cannot be downloaded \(Not Found\): put .* RDBENCH_DATA"):
        KodakDataset(base_url=server.url, pixels=SUMS).items()


def test_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(DatasetError, match=r"cannot be downloaded \(.*refused\): put kodim01\.png and "):
        KodakDataset(base_url=f"http://127.0.0.1:{port}/", pixels=SUMS).items()


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr("rdbench.datasets.kodak._TIMEOUT_S", 0.05)
    release = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda self: release.wait(20))
    try:
        with pytest.raises(DatasetError, match=r"cannot be downloaded \(timed out\)"):
            KodakDataset(base_url=server.url, pixels=SUMS).items()
    finally:
        release.set()


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match=r"cannot write to '.*kodak': "):
        KodakDataset(base_url=server.url, pixels=SUMS).items()


def test_kodak_has_no_options() -> None:
    with pytest.raises(DatasetError, match="'kodak' has no option '24': to read another folder"):
        open_dataset("kodak:24")
