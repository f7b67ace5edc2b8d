"""The bridge to pyiqa, with a small module in its place: pyiqa is large, and its weights cannot be had here."""

import hashlib
import importlib.metadata
import sys
import types

import numpy as np
import pytest

from rdbench.metrics import MetricUnavailableError, fetching, metric_class
from rdbench.metrics.no_reference import MODELS

NAMES = [cls.name for cls in MODELS]


@pytest.fixture
def pyiqa(monkeypatch, tmp_path):
    """pyiqa as far as it is used: `create_metric` gives a module that takes (N, 3, H, W) in [0, 1]."""
    import torch

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    made = []

    def create_metric(name, device):
        made.append((name, str(device)))
        torch.rand(1)  # as building a network does

        def model(images):
            assert images.dtype == torch.float32
            assert images.shape[:2] == (1, 3)
            assert images.is_contiguous()
            assert 0 <= images.min() <= images.max() <= 1
            return images.mean(dim=(1, 2, 3), keepdim=True)[:, :, 0, 0]

        return model

    module = types.ModuleType("pyiqa")
    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    monkeypatch.setattr("rdbench.metrics.no_reference.package_version", lambda name: "0.1.16")
    monkeypatch.setattr(fetching, "package_version", lambda name: "0.1.16")
    return made


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Files in the place of the weights of every model."""
    for cls in MODELS:
        path = tmp_path / "hub" / cls.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cls.name.encode())
        monkeypatch.setattr(cls, "sha256", cls.sha256 and hashlib.sha256(cls.name.encode()).hexdigest()[:8])


@pytest.mark.parametrize("name", NAMES)
def test_score_looks_at_the_image_alone(name, pyiqa, weights):
    metric = metric_class(name)()
    side = metric.min_side
    rng = np.random.default_rng(0)
    reference, image = rng.integers(0, 256, (2, side, side + 3, 3), dtype=np.uint8)
    assert metric(reference, image) == pytest.approx(image.mean() / 255, abs=1e-6)
    assert metric(image, image) == metric(reference, image)
    assert pyiqa == [(metric.model, "cpu")]
    with pytest.raises(ValueError, match=f"^{name} is not defined below {side}x{side} pixels$"):
        metric(reference[1:], image[1:])


@pytest.mark.parametrize("name", NAMES)
def test_fingerprint_names_the_weights(name, pyiqa, weights):
    metric = metric_class(name)()
    metric.check()
    assert metric.fingerprint() == {
        "pyiqa": "0.1.16",
        "model": metric.model,
        "weights": hashlib.sha256(name.encode()).hexdigest()[:16],
    }


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights(name, pyiqa):
    """Found out before a run, and nothing is made: pyiqa would download."""
    metric = metric_class(name)()
    with pytest.raises(MetricUnavailableError, match=f"not on this machine: rdbench fetch {name} gets them"):
        metric.check()
    with pytest.raises(MetricUnavailableError):
        metric.score(None, np.zeros((200, 200, 3), np.uint8))
    assert pyiqa == []


@pytest.mark.parametrize("name", ["musiq", "clipiqa"])
def test_other_weights(name, pyiqa, weights):
    metric = metric_class(name)()
    metric.path.write_bytes(b"something else")
    with pytest.raises(MetricUnavailableError, match=r"is damaged or not the file of that name"):
        metric.check()


def test_missing_package(monkeypatch):
    real = importlib.metadata.distribution

    def distribution(package):
        if package == "pyiqa":
            raise importlib.metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr("rdbench.metrics.installed.distribution", distribution)
    with pytest.raises(MetricUnavailableError) as caught:
        metric_class("niqe")().check()
    assert str(caught.value) == "the package 'pyiqa' is not installed: pip install 'rdbench[pyiqa]'"


@pytest.mark.parametrize("name", NAMES)
def test_fetch_lets_pyiqa_download(name, pyiqa, monkeypatch):
    metric = metric_class(name)
    content = b"weights"
    monkeypatch.setattr(metric, "sha256", hashlib.sha256(content).hexdigest()[:8])
    make = metric.make

    def downloading(self):
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(content)
        return make(self)

    monkeypatch.setattr(metric, "make", downloading)
    lines = []
    fetching.fetch(name, say=lines.append)
    assert lines == [f"pyiqa downloads {metric().path.name} into {metric().path.parent}"]
    assert pyiqa == [(metric.model, "cpu")]


def test_fetch_without_a_network(pyiqa, monkeypatch):
    monkeypatch.setattr(
        sys.modules["pyiqa"], "create_metric", lambda *_, **__: (_ for _ in ()).throw(OSError("no\nway"))
    )
    with pytest.raises(fetching.FetchError) as caught:
        fetching.fetch("musiq")
    assert str(caught.value) == (
        "pyiqa could not get musiq_koniq_ckpt-e95806b9.pth (no way): get that file on a machine with a network, "
        "then here rdbench fetch musiq --from musiq_koniq_ckpt-e95806b9.pth"
    )


def test_fetch_from_a_file(pyiqa, tmp_path):
    given = tmp_path / "niqe_modelparameters.mat"
    given.write_bytes(b"model")
    fetching.fetch("niqe", given)
    assert metric_class("niqe")().path.read_bytes() == b"model"
    with pytest.raises(fetching.FetchError, match=r"no RN50.pt in "):
        fetching.fetch("clipiqa", given)
    assert pyiqa == []


def test_random_state_is_left_alone(pyiqa, weights):
    import torch

    before = torch.random.get_rng_state()
    metric_class("niqe")()(*np.zeros((2, 192, 192, 3), np.uint8))
    assert torch.equal(torch.random.get_rng_state(), before)
