import numpy as np
import pytest

from rdbench.metrics import MetricUnavailableError, metric_class
from rdbench.metrics.installed import packaged_file


@pytest.fixture
def package(lpips_weights, monkeypatch):
    """The network of the DISTS package on the same random backbone, with the package's alpha and beta."""
    import torch

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    from DISTS_pytorch import DISTS_pt
    from torchvision import models

    published = models.vgg16

    def vgg16(pretrained):
        assert pretrained
        with torch.device("meta"):
            network = published(weights=None)
        state = {name.removeprefix("features."): value for name, value in lpips_weights.states["vgg"].items()}
        network.features.load_state_dict(state, assign=True)
        return network

    with monkeypatch.context() as patch:
        patch.setattr(DISTS_pt.models, "vgg16", vgg16)
        network = DISTS_pt.DISTS(load_weights=False)
    weights = torch.load(packaged_file("DISTS-pytorch", "DISTS_pytorch/weights.pt"), weights_only=True)
    network.alpha.data, network.beta.data = weights["alpha"], weights["beta"]
    return network


@pytest.mark.parametrize("size", [(97, 120), (16, 16), (64, 33)])
def test_equals_the_package(size, package, make, photo, jpeg):
    import torch

    height, width = size
    reference, image = (np.ascontiguousarray(each[:height, :width]) for each in (photo, jpeg(photo, 20)))
    metric = make("dists")
    metric.check()
    ours = metric.score(metric.prepare(reference), image)
    # The package takes a covariance as a difference of large numbers, which in 32 bits costs it the fourth digit.
    tensors = [torch.tensor(each / 255).permute(2, 0, 1)[None] for each in (reference, image)]
    theirs = package.double()(*tensors).item()
    assert theirs > 1e-3
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)


def test_published_pair(example, published):
    """The value that the DISTS repository gives for its example images."""
    metric = published("dists")
    assert metric(example("dists_r0"), example("dists_r1")) == pytest.approx(0.3347, abs=5e-5)


def test_published_weights_follow_jpeg_quality(photo, jpeg, published):
    metric = published("dists")
    prepared = metric.prepare(photo)
    values = [metric.score(prepared, jpeg(photo, quality)) for quality in (95, 60, 20, 5)]
    assert values == sorted(values)
    assert 0 < values[0] < 0.1 < values[-1] < 1


def test_missing_backbone(monkeypatch, tmp_path):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    with pytest.raises(MetricUnavailableError, match="of vgg16 are not on this machine: rdbench fetch"):
        metric_class("dists")().check()


def test_fingerprint():
    assert metric_class("dists")().fingerprint() == {
        "weights": "f5e65c96",
        "backbone": "ec92018a5117639a",
        "size": "as it is",
    }
