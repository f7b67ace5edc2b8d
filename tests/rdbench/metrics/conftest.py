import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from rdbench.metrics import Metric, MetricUnavailableError, metric_class
from rdbench.metrics.backbones import ALEXNET, SQUEEZENET, VGG16, Backbone, CachedBackbone, tensors_digest

if TYPE_CHECKING:
    from torch import Tensor

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RandomTrunks:
    """Backbones with random weights, by the names that LPIPS uses, their tensors, and the folder they are in."""

    folder: Path
    trunks: dict[str, Backbone]
    states: dict[str, dict[str, "Tensor"]]


@pytest.fixture(scope="session")
def photo() -> Image:
    """A 192x240 crop of the astronaut: face, hair, flag."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[10:202, 110:350])


@pytest.fixture(scope="session")
def jpeg() -> Callable[[Image, int], Image]:
    """Compress and decompress an image at a JPEG quality."""

    def through(image: Image, quality: int) -> Image:
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, "jpeg", quality=quality)
        return np.asarray(PIL.Image.open(file))

    return through


@pytest.fixture(scope="session")
def random_trunks(tmp_path_factory: pytest.TempPathFactory) -> RandomTrunks:
    """Backbones of torchvision's layout with random values, as files where the metrics look for theirs.

    Random, since the published ones cannot be part of a test suite: enough to compare two computations on the
    same weights, and for nothing else.
    """
    import torch
    from safetensors.numpy import save_file

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    from torchvision import models

    folder = tmp_path_factory.mktemp("trunks")
    cache, hub = folder / "weights", folder / "hub" / "checkpoints"
    cache.mkdir()
    hub.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    trunks: dict[str, Backbone] = {}
    states: dict[str, dict[str, torch.Tensor]] = {}
    for name, published in (("alex", ALEXNET), ("vgg", VGG16), ("squeeze", SQUEEZENET)):
        with torch.device("meta"):
            shapes = getattr(models, published.name)(weights=None).features.state_dict()
        states[name] = {
            f"features.{key}": torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
            for key, value in shapes.items()
        }
        if isinstance(published, CachedBackbone):
            arrays = {key: value.numpy() for key, value in states[name].items()}
            save_file(arrays, cache / f"{published.name}.safetensors")
            trunks[name] = replace(published, tensors_sha256=tensors_digest(arrays))
        else:
            path = hub / "squeeze.pth"
            torch.save(states[name], path)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            trunks[name] = replace(published, hub_name=path.rename(hub / f"squeeze-{digest[:8]}.pth").name)
    return RandomTrunks(folder, trunks, states)


@pytest.fixture
def lpips_weights(random_trunks: RandomTrunks, monkeypatch: pytest.MonkeyPatch) -> RandomTrunks:
    """Let LPIPS and DISTS find the random backbones."""
    monkeypatch.setenv("TORCH_HOME", str(random_trunks.folder))
    monkeypatch.setenv("RDBENCH_CACHE", str(random_trunks.folder))
    for backbone, trunk in random_trunks.trunks.items():
        monkeypatch.setattr(metric_class(f"lpips_{backbone}"), "trunk", trunk)
    monkeypatch.setattr("rdbench.metrics.dists.VGG16", random_trunks.trunks["vgg"])
    return random_trunks


@pytest.fixture(scope="session")
def made() -> dict[str, Metric]:
    """Metrics made so far: their networks take a second to load."""
    return {}


@pytest.fixture
def make(request: pytest.FixtureRequest, made: dict[str, Metric]) -> Callable[[str], Metric]:
    """Make a measured metric by its name; those whose weights cannot be had get random ones."""

    def metric(name: str) -> Metric:
        if name.startswith("lpips") or name == "dists":
            request.getfixturevalue("lpips_weights")
        if name not in made:
            fresh = metric_class(name)()
            assert isinstance(fresh, Metric)
            made[name] = fresh
        return made[name]

    return metric


@pytest.fixture(scope="session")
def example() -> Callable[[str], Image]:
    """An example picture of the LPIPS or DISTS repository, by its name: not in this repository, but in RDBENCH_DATA."""
    folder = Path(os.environ.get("RDBENCH_DATA", "nowhere")) / "metric-pairs"

    def picture(name: str) -> Image:
        path = folder / f"{name}.png"
        if not path.is_file():
            pytest.skip("RDBENCH_DATA has no folder metric-pairs with LPIPS' and DISTS' examples (docs/metrics.md)")
        return np.asarray(PIL.Image.open(path).convert("RGB"))

    return picture


@pytest.fixture
def published() -> Callable[[str], Metric]:
    """Make a metric with its published weights; where they were not fetched, skip. Nothing is downloaded here."""

    def metric(name: str) -> Metric:
        made = metric_class(name)()
        assert isinstance(made, Metric)
        try:
            made.check()
        except MetricUnavailableError as error:
            pytest.skip(str(error))
        return made

    return metric


@pytest.fixture(scope="session")
def drawn() -> tuple[Image, Image]:
    """A picture drawn by formulas, 201x256, and a distorted copy: the same on every machine, to the last bit."""
    y, x = np.mgrid[:201, :256]
    waves = [(x * x + 3 * y * (k + 1)) // (40 + 9 * k) % 256 for k in range(3)]
    reference = np.stack(waves, axis=2).astype(np.uint8)
    rings = ((x - 90) ** 2 + (y - 70) ** 2) // 60 % 2 == 0
    reference[rings] //= 2
    noise = (x * 7919 + y * 104729) % 31 - 15
    distorted = np.clip((reference // 24) * 24 + 10 + noise[:, :, None], 0, 255).astype(np.uint8)
    return reference, distorted
