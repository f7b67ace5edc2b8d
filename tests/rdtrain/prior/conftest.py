"""A training small enough for a test."""

import pytest

from rdtrain.core.loop import Budget, Outcome
from rdtrain.prior.session import PriorSession
from small_training import make_session


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> PriorSession:
    """A model that went through all of it."""
    session = make_session(tmp_path_factory.mktemp("training") / "out")
    assert session.train("vae", Budget(steps=12)) is Outcome.FINISHED
    assert session.train("unet", Budget(steps=6)) is Outcome.FINISHED
    return session
