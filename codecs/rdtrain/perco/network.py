"""All that is trained, as one network."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rdcodecs.perco.config import HyperEncoderConfig
from rdcodecs.perco.hyper_encoder import HyperEncoder
from rdcodecs.perco.quantizer import Quantised
from rdcodecs.perco.unet import extend_input, local_features


class PerCoNetwork(nn.Module):
    """A U-Net with extended input, and a hyper-encoder for each rate point.

    Args:
        unet: of the prior; a copy is trained.
        points: shapes of the hyper-encoders.
    """

    def __init__(self, unet: nn.Module, points: Sequence[HyperEncoderConfig]) -> None:
        super().__init__()
        self.unet: Any = copy.deepcopy(unet).requires_grad_(True)
        extend_input(self.unet, points[0].features)
        self.encoders = nn.ModuleList(HyperEncoder(point) for point in points)

    @property
    def points(self) -> list[HyperEncoder]:
        """The hyper-encoders, from low to high rate."""
        return cast("list[HyperEncoder]", list(self.encoders))

    def quantise(self, latents: Tensor, levels: Tensor) -> tuple[Tensor, dict[int, Quantised]]:
        """Quantise each latent at its own rate point.

        Args:
            latents: clean, shape (N, C, h, w).
            levels: shape (N,), on the CPU.

        Returns:
            Local features at the latents' resolution, shape (N, M, h, w); and what became of the latents of each
            level that occurs.
        """
        size = (latents.shape[2], latents.shape[3])
        places, parts, made = [], [], {}
        for level in sorted(set(levels.tolist())):
            encoder = self.points[level]
            chosen = torch.nonzero(levels == level)[:, 0].to(latents.device)
            made[level] = encoder(latents[chosen])
            places.append(chosen)
            parts.append(encoder.spread(made[level].features, size))
        # Back into the order of the batch.
        return torch.cat(parts)[torch.cat(places).argsort()], made

    def denoise(self, noisy: Tensor, timesteps: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        """Return what the U-Net predicts, shape (N, C, h, w), for noisy latents and their local features."""
        with local_features(self.unet, features):
            output: Tensor = self.unet(
                noisy, timesteps, encoder_hidden_states=embedding.expand(len(noisy), -1, -1)
            ).sample
        return output
