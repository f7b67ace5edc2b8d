"""Measure a latent diffusion model: its autoencoder's round trip, its denoising, its samples; write its card."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL.Image import fromarray

from rdbench.metrics import make_metric
from rdcodecs.pixels import to_images
from rdcodecs.prior import Prior
from rdtrain.prior.card import EVALUATION, SHEET, write_card
from rdtrain.prior.denoisers import compare_denoisers
from rdtrain.prior.latents import make_latents
from rdtrain.prior.samples import sample_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rdtrain.core.data import Crops, Reader

_METRICS = ("psnr", "ms_ssim", "st_lpips_alex")
_SPECTRUM = 1024
"""Crops, each with its mirror image, that the Wiener denoiser's spectrum is taken from."""
_HELD_OUT = 128
_SHEET_STEPS = (10, 50)


def measure_prior(prior: Prior, folder: Path, crops: "Crops", images: "Sequence[tuple[str, Reader]]") -> Path:
    """Measure a model, and write ``evaluation.json``, the contact sheet and the model card into its folder.

    Args:
        prior: the model.
        folder: it was loaded from.
        crops: of its training data: the Wiener denoiser's spectrum comes from those trained on, the noise
            prediction is measured on those held out.
        images: name and reader of each test image for the autoencoder's round trip, at full size; may be none.

    Returns:
        The card's path.

    Raises:
        MetricUnavailableError: a metric's weights are missing.
        BenchError: a test image cannot be read.
    """
    counted = replace(crops, train=crops.train[:_SPECTRUM], held_out=crops.held_out[:_HELD_OUT])
    latents = make_latents(prior.vae, counted, prior.device)
    figures: dict[str, Any] = {
        "model": prior.fingerprint(),
        "denoising": [vars(row) for row in compare_denoisers(prior, latents.train, latents.held_out)],
    }
    if images:
        figures["round_trip"] = round_trip(prior, images)
    (folder / EVALUATION).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sheet = sample_sheet(prior, crops.train.shape[1], steps=_SHEET_STEPS)
    fromarray(sheet).save(folder / SHEET, quality=90, method=6)
    return write_card(folder)


def round_trip(prior: Prior, images: "Sequence[tuple[str, Reader]]") -> dict[str, Any]:
    """Return the metrics of images that went through the autoencoder, and the spread of their latents."""
    metrics = [make_metric(name) for name in _METRICS]
    rows = []
    sums = torch.zeros(3, prior.channels, dtype=torch.float64)
    for _, read in images:
        image = read()
        with torch.inference_mode():
            latent = prior.encode(image)
            made = to_images(prior.decode(latent, image.shape[:2]))[0]
        flat = latent[0].double().cpu().flatten(1)
        sums += torch.stack([torch.full((prior.channels,), flat.shape[1]), flat.sum(1), flat.square().sum(1)])
        rows.append({metric.name: metric(image, made) for metric in metrics})
    count, total, squares = sums
    names = [name for name, _ in images]
    return {
        "source": names[0].rpartition("/")[0] or f"{names[0]} to {names[-1]}",
        "images": len(rows),
        "mean": {name: float(np.mean([row[name] for row in rows])) for name in _METRICS},
        "latent_std": (squares / count - (total / count).square()).sqrt().tolist(),
        "each": dict(zip(names, rows, strict=True)),
    }
