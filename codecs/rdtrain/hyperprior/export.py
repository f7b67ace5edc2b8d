"""From a training's averaged weights to the folder that the codec reads."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rdcodecs.entropy import FrequencyTables, counted_tables, gaussian_tables
from rdcodecs.hyperprior.likelihood import SCALES, scale_table
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.weights import save_hyperprior
from rdcodecs.pixels import to_tensor

_LARGEST = 255
_COUNTED = 512
"""Crops on which symbols are counted, from all over the images."""
_LARGEST_LATENT = 4095
"""Magnitude from which on latents count as one."""


def export_hyperprior(network: Hyperprior, images: Tensor, folder: Path, *, sketch_prior: str = "") -> None:
    """Write a model with the tables that its entropy coding needs.

    Args:
        network: trained.
        images: training crops, uint8, shape (N, H, W, 3), on which symbols are counted.
        folder: of the model.
        sketch_prior: digest of the latent space that its sketches lie in; empty where it draws none.
    """
    counted = images[:: max(1, len(images) // _COUNTED)][:_COUNTED]
    hyper_tables, latent_tables = count_symbols(network, counted)
    save_hyperprior(folder, network, hyper_tables, latent_tables, sketch_prior=sketch_prior)


@torch.no_grad()
def count_symbols(network: Hyperprior, images: Tensor, batch: int = 16) -> tuple[FrequencyTables, FrequencyTables]:
    """Return the tables of hyper-latents and of latents.

    Those of hyper-latents, one for each level and channel, levels outermost, are counted. Those of latents, one for
    each entry of the scale table, are Gaussians corrected by what was counted: trained scales are not exact, and
    what is coded under one is not quite a Gaussian.
    """
    config = network.config
    device = next(network.parameters()).device
    hyper_counts = np.zeros((config.levels, config.hyper_channels, 2 * _LARGEST + 1), dtype=np.int64)
    counts = np.zeros((SCALES, _LARGEST_LATENT + 1), dtype=np.int64)
    for part in torch.split(images, batch):
        pixels = to_tensor(part.to(device))
        for level in range(config.levels):
            levels = torch.full((len(part),), level, device=device)
            latents, hyper = network.encode(pixels, levels)
            whole = hyper.round().clamp(-_LARGEST, _LARGEST)
            symbols = whole.long().add(_LARGEST).cpu()
            for channel in range(config.hyper_channels):
                hyper_counts[level, channel] += np.bincount(symbols[:, channel].reshape(-1), minlength=2 * _LARGEST + 1)
            distribution = network.distribution(latents, whole, levels)
            magnitudes = distribution.symbols.round().abs().clamp(max=_LARGEST_LATENT).long()
            places = distribution.places.round().clamp(0, SCALES - 1).long()
            pairs = (places * counts.shape[1] + magnitudes).reshape(-1).cpu()
            counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    hyper_tables = counted_tables([_trimmed(row) for row in hyper_counts.reshape(-1, 2 * _LARGEST + 1)])
    return hyper_tables, gaussian_tables(scale_table(), list(counts))


def _trimmed(row: np.ndarray) -> tuple[int, np.ndarray]:
    seen = np.flatnonzero(row)
    return int(seen[0]) - _LARGEST, row[seen[0] : seen[-1] + 1]
