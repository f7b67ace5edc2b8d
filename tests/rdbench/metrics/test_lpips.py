import shutil

import numpy as np
import pytest

from rdbench.metrics import MetricUnavailableError, metric_class, weights
from rdbench.metrics.installed import packaged_file

BACKBONES = ["alex", "squeeze", "vgg"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_equals_the_package(backbone, lpips_weights, make, photo, jpeg):
    """Our two halves give exactly what lpips' own forward gives on the same weights."""
    import torch

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    import lpips

    reference, image = photo[:97, :120], jpeg(photo, 20)[:97, :120]
    metric = make(f"lpips_{backbone}")
    metric.check()
    ours = metric.score(metric.prepare(reference), image)

    with torch.random.fork_rng():
        model = lpips.LPIPS(net=backbone, pnet_rand=True, verbose=False)
    trunk = torch.load(lpips_weights[backbone], weights_only=True)
    model.net.load_state_dict({name: trunk["features." + name.split(".", 1)[1]] for name in model.net.state_dict()})
    model = model.to(memory_format=torch.channels_last)
    tensors = [torch.tensor(i.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None] for i in (reference, image)]
    with torch.inference_mode():
        theirs = model(*tensors).item()
    assert theirs > 0
    assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_heads_are_the_trained_ones(backbone, make):
    """The heads come from the wheel, unchanged."""
    import torch

    path = packaged_file("lpips", f"lpips/weights/v0.1/{backbone}.pth")
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = make(f"lpips_{backbone}").load()
    loaded = [head.model[1].weight for head in network.heads]
    assert len(loaded) == len(state)
    for index, weight in enumerate(loaded):
        assert torch.equal(weight, state[f"lin{index}.model.1.weight"])
        assert not weight.requires_grad


@pytest.mark.parametrize("backbone", BACKBONES)
def test_published_names(backbone):
    """Torchvision's own addresses for the weights of each backbone."""
    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    from torchvision import models

    published = {
        "alex": models.AlexNet_Weights.IMAGENET1K_V1,
        "squeeze": models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
        "vgg": models.VGG16_Weights.IMAGENET1K_V1,
    }
    assert published[backbone].url == weights.HUB_URL + metric_class(f"lpips_{backbone}").trunk_file


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fingerprint_names_the_weights(backbone, make):
    metric = make(f"lpips_{backbone}")
    fingerprint = metric.fingerprint()
    assert fingerprint["backbone"] == metric.trunk_file.split("-")[-1].removesuffix(".pth")
    assert fingerprint["heads"] == metric.heads_sha256
    assert fingerprint["lpips"]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("step", ["check", "load"])
def test_missing_backbone(backbone, step, monkeypatch, tmp_path):
    """No file and no network: a line that says which file goes where, and no number from anything else."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "HUB_URL", "http://127.0.0.1:1/")
    metric = metric_class(f"lpips_{backbone}")()
    with pytest.raises(MetricUnavailableError) as caught:
        getattr(metric, step)()
    message = str(caught.value)
    folder = tmp_path / "hub" / "checkpoints"
    assert f"the weights {metric.trunk_file} are not in {folder} and cannot be downloaded" in message
    assert f"get http://127.0.0.1:1/{metric.trunk_file} and put it into that folder" in message
    assert "\n" not in message
    with pytest.raises(MetricUnavailableError):
        metric.prepare(np.zeros((64, 64, 3), np.uint8))


def test_another_file_under_the_backbones_name(lpips_weights, make, monkeypatch, tmp_path):
    """Weights that are not the published ones are refused, also if a network could be built from them."""
    metric = make("lpips_alex")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = metric_class("lpips_alex").trunk_file.replace("alex-", "alex-0")
    shutil.copy(lpips_weights["alex"], folder / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(type(metric), "trunk_file", name)
    with pytest.raises(MetricUnavailableError, match=rf"{name} is damaged or not the file of that name"):
        metric.check()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_published_weights_follow_jpeg_quality(backbone, photo, jpeg):
    """Where the published backbone is on this machine; nothing is downloaded for a test."""
    metric = metric_class(f"lpips_{backbone}")()
    if not (weights.checkpoints_folder() / metric.trunk_file).is_file():
        pytest.skip(f"{metric.trunk_file} is not on this machine")
    prepared = metric.prepare(photo)
    values = [metric.score(prepared, jpeg(photo, quality)) for quality in (95, 60, 20, 5)]
    assert values == sorted(values)
    assert 0 < values[0] < 0.1 < values[-1] < 1
