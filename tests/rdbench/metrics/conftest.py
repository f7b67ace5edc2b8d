import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from rdbench.metrics import Metric, metric_class

Image = npt.NDArray[np.uint8]

BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


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
def lpips_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME with backbones of torchvision's layout and random values, each named after its own hash.

    Random, since the published ones cannot be part of a test suite: enough to compare two computations on the
    same weights, and for nothing else.
    """
    import torch

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    from torchvision import models

    home = tmp_path_factory.mktemp("torch-home")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for backbone, architecture in BACKBONES.items():
        with torch.device("meta"):
            shapes = getattr(models, architecture)(weights=None).features.state_dict()
        state = {
            f"features.{name}": torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
            for name, value in shapes.items()
        }
        path = folder / f"{backbone}.pth"
        torch.save(state, path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path.rename(folder / f"{backbone}-{digest[:8]}.pth")
    return home


@pytest.fixture
def lpips_weights(lpips_home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Let the LPIPS metrics find the random backbones; backbone → file."""
    monkeypatch.setenv("TORCH_HOME", str(lpips_home))
    found = {path.name.partition("-")[0]: path for path in (lpips_home / "hub" / "checkpoints").iterdir()}
    for backbone, path in found.items():
        monkeypatch.setattr(metric_class(f"lpips_{backbone}"), "trunk_file", path.name)
    return found


@pytest.fixture(scope="session")
def made() -> dict[str, Metric]:
    """Metrics made so far: their networks take a second to load."""
    return {}


@pytest.fixture
def make(request: pytest.FixtureRequest, made: dict[str, Metric]) -> Callable[[str], Metric]:
    """Make a measured metric by its name; those whose weights cannot be had get random ones."""

    def metric(name: str) -> Metric:
        if name.startswith("lpips"):
            request.getfixturevalue("lpips_weights")
        if name not in made:
            fresh = metric_class(name)()
            assert isinstance(fresh, Metric)
            made[name] = fresh
        return made[name]

    return metric
