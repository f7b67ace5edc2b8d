"""Contact sheets."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rdcodecs.codec import Image


def grid(rows: Sequence[npt.NDArray[np.uint8]], gap: int = 2) -> Image:
    """Return images side by side, row under row, with white gaps.

    Args:
        rows: each of shape (n, H, W, 3), the same for all.
        gap: in pixels.
    """
    lines = []
    for row in rows:
        padded = np.pad(row, ((0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    return np.ascontiguousarray(np.concatenate(lines)[:-gap, :-gap])
