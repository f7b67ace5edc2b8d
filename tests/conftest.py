"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Tests run two at a time: libraries that start one thread per core would only be in each other's way.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# The same examples every time: a test that fails for some must fail for everybody.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def small_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusion model with random weights."""
    from small_models import write_model

    return write_model(tmp_path_factory.mktemp("prior"), text=False)


@pytest.fixture(scope="session")
def small_weights(small_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hyperprior, both kinds of fusion and enhancer, trained a little for `small_prior`."""
    from small_codecs import train_weights

    return train_weights(tmp_path_factory.mktemp("weights"), small_prior)


@pytest.fixture(scope="session")
def perco_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `small_perco` was trained from."""
    from small_perco import write_start

    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="session")
def small_perco(perco_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PerCo trained a little, in our own layout."""
    from small_perco import train_perco

    return train_perco(tmp_path_factory.mktemp("perco"), perco_prior)
