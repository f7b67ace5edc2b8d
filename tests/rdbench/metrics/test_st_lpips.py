import subprocess
import sys
import types

import numpy as np
import pytest

from rdbench.metrics import MetricUnavailableError, metric_class, st_lpips_weights

BACKBONES = ["alex", "vgg"]


def batch(*images):
    import torch

    return torch.stack([torch.tensor(i.astype(np.float32) / 127.5 - 1).permute(2, 0, 1) for i in images])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_equals_the_package(backbone, photo, jpeg, monkeypatch):
    """The network in plain torch gives what the authors' own gives."""
    import torch

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    # Two packages that the authors' code imports at its top and that a distance has no use for.
    for name, attribute in (("torchsummary", "summary"), ("IPython", "embed")):
        if name not in sys.modules:
            dummy = types.ModuleType(name)
            setattr(dummy, attribute, None)
            monkeypatch.setitem(sys.modules, name, dummy)
    theirs = pytest.importorskip("stlpips_pytorch.stlpips", exc_type=ImportError)

    reference, image = photo[:97, :120], jpeg(photo, 20)[:97, :120]
    metric = metric_class(f"st_lpips_{backbone}")()
    metric.check()
    ours = metric.score(metric.prepare(reference), image)

    with torch.random.fork_rng():
        model = theirs.LPIPS(net=backbone, variant="shift_tolerant", verbose=False)
    with torch.inference_mode():
        expected = model(batch(reference), batch(image)).item()
    assert expected > 0.01
    assert ours == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_is_a_training_loss(backbone, photo, jpeg):
    """Frozen; gradients reach the image, and following them brings it nearer to the reference."""
    import torch

    from rdbench.metrics.st_lpips_net import STLPIPSNet

    network = STLPIPSNet(backbone)
    network.train()  # as a trainer does to all it holds
    assert not any(parameter.requires_grad for parameter in network.parameters())
    reference = batch(photo[:64, :64], photo[64:128, :64])
    image = batch(jpeg(photo, 5)[:64, :64], jpeg(photo, 5)[64:128, :64]).requires_grad_()
    loss = network(reference, image)
    assert loss.shape == (2,)
    loss.sum().backward()
    assert torch.isfinite(image.grad).all()
    with torch.no_grad():
        nearer = network(reference, image - 0.02 * image.grad / image.grad.abs().max())
    assert (nearer < loss).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_where_features_vanish(backbone):
    """Flat images, and an image equal to its reference: the length's derivative must not turn into NaN."""
    import torch

    from rdbench.metrics.st_lpips_net import STLPIPSNet

    network = STLPIPSNet(backbone)
    for level in (-1.0, 0.0, 1.0):
        flat = torch.full((1, 3, 32, 32), level)
        for start in (flat, 0.5 * flat):
            image = start.clone().requires_grad_()
            network(flat, image).sum().backward()
            assert torch.isfinite(image.grad).all()


def test_shift_costs_less_than_blur(photo):
    """What the metric was made for: an invisible shift by a pixel is a smaller distance than a blur."""
    metric = metric_class("st_lpips_alex")()
    prepared = metric.prepare(photo[:128, :128])
    shifted = photo[1:129, 1:129]
    rows = photo.astype(np.float32)
    blurred = np.rint(sum(np.roll(rows, k, axis=0) for k in range(-4, 5)) / 9).astype(np.uint8)[:128, :128]
    assert metric.score(prepared, shifted) < 0.5 * metric.score(prepared, blurred)


def test_authors_code_is_not_imported():
    script = """
import sys, numpy
from rdbench.metrics import metric_class
metric = metric_class("st_lpips_alex")()
image = numpy.zeros((32, 32, 3), numpy.uint8)
metric.score(metric.prepare(image), image)
print([name for name in sys.modules if name.startswith(("stlpips", "torchvision"))])
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_package_missing(monkeypatch):
    monkeypatch.setattr(st_lpips_weights, "PACKAGE", "no-such-package-stlpips")
    with pytest.raises(MetricUnavailableError, match=r"'no-such-package-stlpips' is not installed: pip install"):
        metric_class("st_lpips_vgg")().check()


def test_damaged_weights(monkeypatch, tmp_path):
    damaged = tmp_path / "alex_shift_tolerant.pth"
    damaged.write_bytes(st_lpips_weights.weights_file("alex").read_bytes()[:-1])
    monkeypatch.setattr(st_lpips_weights, "packaged_file", lambda package, path: damaged)
    with pytest.raises(MetricUnavailableError, match=r"alex_shift_tolerant.pth is damaged .* not b356b382"):
        metric_class("st_lpips_alex")().check()


def test_unknown_backbone():
    from rdbench.metrics.st_lpips_net import STLPIPSNet

    with pytest.raises(ValueError, match="ST-LPIPS has no backbone 'squeeze': have alex, vgg"):
        STLPIPSNet("squeeze")
