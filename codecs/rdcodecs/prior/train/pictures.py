"""Contact sheets."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from rdcodecs.codec import Image
from rdcodecs.prior.model import Prior
from rdcodecs.prior.pixels import to_images


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


def sample_sheet(prior: Prior, side: int, *, steps: tuple[int, ...], columns: int = 8, seed: int = 0) -> Image:
    """Return a contact sheet of samples: a row for each number of steps, a column for each seed.

    Args:
        prior: the model.
        side: of each sample, in pixels.
        steps: numbers of denoising steps.
        columns: samples to a row.
        seed: of the first column.
    """
    noise = prior.noise((side, side), range(seed, seed + columns))
    with torch.inference_mode():
        return grid([to_images(prior.decode(prior.sample(noise, count), (side, side))) for count in steps])
