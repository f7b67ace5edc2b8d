"""Weights that the tests of several codecs share."""

from pathlib import Path

import pytest

from small_codecs import train_weights
from small_models import write_model


@pytest.fixture(scope="session")
def small_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusion model with random weights."""
    return write_model(tmp_path_factory.mktemp("prior"), text=False)


@pytest.fixture(scope="session")
def small_weights(small_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hyperprior and both kinds of fusion, trained a little for `small_prior`."""
    return train_weights(tmp_path_factory.mktemp("weights"), small_prior)
