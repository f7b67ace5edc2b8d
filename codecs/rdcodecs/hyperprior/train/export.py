"""From a training's averaged weights to the folder that the codec reads."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rdcodecs.entropy import FrequencyTables, counted_tables, gaussian_tables
from rdcodecs.hyperprior.likelihood import scale_table
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.weights import save_hyperprior
from rdcodecs.pixels import to_tensor

_LARGEST = 255
_COUNTED = 512
"""Crops on which hyper-latents are counted."""


def export_hyperprior(network: Hyperprior, images: Tensor, folder: Path, *, sketch_prior: str = "") -> None:
    """Write a model with the tables that its entropy coding needs.

    Args:
        network: trained.
        images: training crops, uint8, shape (N, H, W, 3), on which the hyper-latents' tables are counted.
        folder: of the model.
        sketch_prior: digest of the latent space that its sketches lie in; empty where it draws none.
    """
    hyper_tables = count_hyper_latents(network, images[:_COUNTED])
    save_hyperprior(folder, network, hyper_tables, gaussian_tables(scale_table()), sketch_prior=sketch_prior)


@torch.no_grad()
def count_hyper_latents(network: Hyperprior, images: Tensor, batch: int = 16) -> FrequencyTables:
    """Return a table of the hyper-latents of each level and channel, levels outermost."""
    config = network.config
    device = next(network.parameters()).device
    counts = np.zeros((config.levels, config.hyper_channels, 2 * _LARGEST + 1), dtype=np.int64)
    for part in torch.split(images, batch):
        pixels = to_tensor(part.to(device))
        for level in range(config.levels):
            hyper = network.encode(pixels, torch.full((len(part),), level, device=device))[1]
            symbols = hyper.round().clamp(-_LARGEST, _LARGEST).long().add(_LARGEST).cpu()
            for channel in range(config.hyper_channels):
                counts[level, channel] += np.bincount(symbols[:, channel].reshape(-1), minlength=2 * _LARGEST + 1)
    return counted_tables([_trimmed(row) for row in counts.reshape(-1, 2 * _LARGEST + 1)])


def _trimmed(row: np.ndarray) -> tuple[int, np.ndarray]:
    seen = np.flatnonzero(row)
    return int(seen[0]) - _LARGEST, row[seen[0] : seen[-1] + 1]
