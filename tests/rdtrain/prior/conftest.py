"""A training small enough for a test."""

import pytest

from rdtrain.core.loop import Budget, Outcome
from small_training import PriorTrainings, prior_trainings


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> PriorTrainings:
    """A model that went through all of it."""
    training = prior_trainings(tmp_path_factory.mktemp("training") / "out")
    assert training.vae.train(Budget(steps=12)) is Outcome.FINISHED
    assert training.unet.train(Budget(steps=6)) is Outcome.FINISHED
    return training
