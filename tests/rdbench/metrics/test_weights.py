import hashlib
import http.server
import socket
import threading
from typing import ClassVar

import pytest

from rdbench.metrics import MetricUnavailableError, weights
from rdbench.metrics.weights import checkpoints_folder, hub_file, published_hash, verify

CONTENT = b"trained weights"
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """An empty torch home, no proxy, and no memory of which servers answer."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    weights._why_unreachable.cache_clear()
    yield
    weights._why_unreachable.cache_clear()


@pytest.fixture
def server(monkeypatch):
    """A web server with one file; what it is asked and what it serves can be seen and changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list[tuple[str, str]]] = []
        content = CONTENT

        def do_HEAD(self):
            self.asked.append((self.command, self.path))
            self.send_error(403)

        def do_GET(self):
            self.asked.append((self.command, self.path))
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.content)))
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *args):
            pass

    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(weights, "HUB_URL", f"http://127.0.0.1:{running.server_port}/models/")
        yield Handler
        running.shutdown()
        thread.join()


def test_download_once(server):
    path = hub_file(NAME)
    assert path == checkpoints_folder() / NAME
    assert path.read_bytes() == CONTENT
    assert hub_file(NAME) == path
    assert server.asked == [("HEAD", "/models/"), ("GET", f"/models/{NAME}")]


def test_download_of_something_else(server):
    """A page of a captive portal, say: refused by its hash, and nothing is left behind."""
    server.content = b"<html>please log in</html>"
    with pytest.raises(MetricUnavailableError, match=r"cannot be downloaded \(invalid hash value"):
        hub_file(NAME)
    assert list(checkpoints_folder().iterdir()) == []


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "torch").write_text("a file where the folder should be")
    with pytest.raises(MetricUnavailableError, match=r"cannot be downloaded \((Not a directory|File exists)\)"):
        hub_file(NAME)


def test_nobody_listens(monkeypatch):
    monkeypatch.setattr(weights, "HUB_URL", "http://127.0.0.1:1/")
    with pytest.raises(MetricUnavailableError) as caught:
        hub_file(NAME)
    folder = checkpoints_folder()
    assert str(caught.value) == (
        f"the weights {NAME} are not in {folder} and cannot be downloaded (Connection refused): "
        f"get http://127.0.0.1:1/{NAME} and put it into that folder"
    )


@pytest.mark.timeout(30)
def test_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(weights, "_PROBE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(weights, "HUB_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(MetricUnavailableError, match=r"cannot be downloaded \(timed out\)"):
            hub_file(NAME)


@pytest.mark.timeout(30)
def test_name_lookup_that_hangs(monkeypatch):
    """Sockets' timeouts do not cover it."""
    released = threading.Event()
    asked = []

    def hang(request, timeout):
        asked.append(request.full_url)
        released.wait(20)
        raise TimeoutError

    monkeypatch.setattr(weights, "_PROBE_TIMEOUT", 0.1)
    monkeypatch.setattr(weights.urllib.request, "urlopen", hang)
    for _ in range(2):
        with pytest.raises(MetricUnavailableError, match=r"cannot be downloaded \(no answer\)"):
            hub_file(NAME)
    released.set()
    assert asked == [weights.HUB_URL]


def test_damaged_file():
    folder = checkpoints_folder()
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(MetricUnavailableError, match=rf"{NAME} is damaged .* delete it and get it again"):
        hub_file(NAME)
    (folder / NAME).write_bytes(CONTENT)
    assert hub_file(NAME).read_bytes() == CONTENT


def test_unreadable_file(tmp_path):
    with pytest.raises(MetricUnavailableError, match=r"gone.pth cannot be read: No such file or directory"):
        verify(tmp_path / "gone.pth", "00")


@pytest.mark.parametrize("variables", [{"TORCH_HOME": "/a"}, {"XDG_CACHE_HOME": "/b"}, {}, {"TORCH_HOME": "~/c"}])
def test_folder_is_torchs(monkeypatch, variables):
    import os

    import torch

    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(checkpoints_folder()) == os.path.join(torch.hub.get_dir(), "checkpoints")


def test_hash_in_a_name():
    assert published_hash("alexnet-owt-7be5be79.pth") == "7be5be79"
    with pytest.raises(ValueError, match=r"'alexnet.pth' is not named as torch hub files are"):
        published_hash("alexnet.pth")
