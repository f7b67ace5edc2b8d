"""Small models on disk."""

import shutil
from pathlib import Path

import pytest

from small_models import write_model


@pytest.fixture(scope="session", params=["epsilon", "v_prediction"])
def stable_diffusion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 1.5 and 2.1-base (epsilon), and 2.1 (v-prediction), in small."""
    folder = tmp_path_factory.mktemp(request.param)
    return write_model(folder, prediction_type=request.param)


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without text."""
    return write_model(tmp_path_factory.mktemp("plain"), text=False)


@pytest.fixture
def copied(plain_model: Path, tmp_path: Path) -> Path:
    """A copy of `plain_model` that a test may damage."""
    return Path(shutil.copytree(plain_model, tmp_path / "model"))
