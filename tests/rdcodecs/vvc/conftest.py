"""Small images and streams for the VVC tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rdcodecs import Image

STREAMS = Path(__file__).parent / "streams"


def _picture(width: int, height: int) -> Image:
    rows, columns = np.mgrid[:height, :width]
    red = 120 + 80 * np.sin(columns / 9) * np.cos(rows / 7)
    green = 40 + 4 * columns % 160
    blue = 200 - 3 * rows % 150
    return np.clip(np.rint(np.stack([red, green, blue], axis=-1)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def picture() -> Callable[[int, int], Image]:
    """Makes a smooth colour image with edges, from (width, height)."""
    return _picture


@pytest.fixture(scope="session")
def stream_444() -> bytes:
    """`picture(33, 31)` coded by VTM 19.2 in 4:4:4 at QP 27."""
    return (STREAMS / "vtm-444-33x31.266").read_bytes()


@pytest.fixture(scope="session")
def stream_420() -> bytes:
    """`picture(17, 24)` coded by VTM 19.2 in 4:2:0 at QP 27, by this project's adapter: the width is odd."""
    return (STREAMS / "vtm-420-17x24.266").read_bytes()
