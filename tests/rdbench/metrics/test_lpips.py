import importlib.metadata

import numpy as np
import pytest

from rdbench.metrics import MetricUnavailableError, fetching, metric_class
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
    trunk = lpips_weights.states[backbone]
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
    assert published[backbone].url == fetching.HUB_URL + metric_class(f"lpips_{backbone}").trunk.hub_name


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fingerprint_names_the_weights(backbone):
    metric = metric_class(f"lpips_{backbone}")()
    assert metric.fingerprint() == {
        "lpips": importlib.metadata.version("lpips"),
        "heads": {"alex": "df73285e", "squeeze": "4a5350f2", "vgg": "a78928a0"}[backbone],
        "backbone": {"alex": "55bf5f9599d7084e", "squeeze": "b8a52dc0", "vgg": "ec92018a5117639a"}[backbone],
    }


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("step", ["check", "load"])
def test_missing_backbone(backbone, step, monkeypatch, tmp_path):
    """A line that says how to get it, no download, and no number from anything else."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a metric must not use the network"))
    metric = metric_class(f"lpips_{backbone}")()
    what = "lpips_squeeze" if backbone == "squeeze" else "lpips"
    with pytest.raises(MetricUnavailableError, match=rf"rdbench fetch {what} gets") as caught:
        getattr(metric, step)()
    assert "\n" not in str(caught.value)
    with pytest.raises(MetricUnavailableError):
        metric.prepare(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_other_weights_under_the_backbones_name(backbone, random_trunks, monkeypatch):
    """Weights that are not the published ones are refused, also if a network could be built from them."""
    monkeypatch.setenv("TORCH_HOME", str(random_trunks.folder))
    monkeypatch.setenv("RDBENCH_CACHE", str(random_trunks.folder))
    metric = metric_class(f"lpips_{backbone}")()
    if backbone == "squeeze":
        other = random_trunks.trunks["squeeze"].path.with_name(metric.trunk.hub_name)
        other.write_bytes(random_trunks.trunks["squeeze"].path.read_bytes())
    with pytest.raises(MetricUnavailableError, match=r" is damaged or (not the file of that name|holds other weights)"):
        metric.load()


@pytest.mark.parametrize(
    ("backbone", "values"), [("alex", (0.722, 0.138)), ("vgg", (0.5686, 0.4217))], ids=["alex", "vgg"]
)
def test_published_pair(backbone, values, example, published):
    """The values that the LPIPS repository gives for its example images; those of VGG were computed with it."""
    metric = published(f"lpips_{backbone}")
    prepared = metric.prepare(example("ex_ref"))
    found = [metric.score(prepared, example(name)) for name in ("ex_p0", "ex_p1")]
    assert found == pytest.approx(values, abs=5e-4 if backbone == "alex" else 5e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_published_weights_follow_jpeg_quality(backbone, photo, jpeg, published):
    metric = published(f"lpips_{backbone}")
    prepared = metric.prepare(photo)
    values = [metric.score(prepared, jpeg(photo, quality)) for quality in (95, 60, 20, 5)]
    assert values == sorted(values)
    assert 0 < values[0] < 0.1 < values[-1] < 1
