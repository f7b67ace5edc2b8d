"""Contact sheets of samples."""

import torch

from rdcodecs.codec import Image
from rdcodecs.pixels import to_images
from rdcodecs.prior.model import Prior
from rdtrain.core.contact_sheet import grid


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
