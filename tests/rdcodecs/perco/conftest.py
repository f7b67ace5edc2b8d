"""Models in the layout of the public checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest

from small_perco import hyper_encoder_shapes, write_public


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., Path]:
    return write_public


@pytest.fixture(scope="session")
def public_shapes() -> Callable[..., dict[str, tuple[int, ...]]]:
    return hyper_encoder_shapes


@pytest.fixture(scope="session")
def public_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rate point .0313, in small."""
    return write_public(tmp_path_factory.mktemp("public") / "perco_0.0313", grid=32, size=256)
