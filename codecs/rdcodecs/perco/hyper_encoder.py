"""The hyper-encoder: from the latent of the autoencoder to features that the U-Net is steered by, quantised."""

import torch
from torch import Tensor, nn

from rdcodecs.perco.config import HyperEncoderConfig
from rdcodecs.perco.quantizer import Quantised, VectorQuantizer
from rdcodecs.pixels import pad_to_multiple


class HyperEncoder(nn.Module):
    """The hyper-encoder of one rate point.

    Architecture and parameter names are those of the public checkpoints (arXiv 2310.10325, section 3.2, in the
    re-implementation on Stable Diffusion): the analysis transform of He et al. 2022 (ELIC, arXiv 2203.10886), whose
    strided convolutions are 1x1 ones where the rate point's grid asks for no reduction.

    Args:
        config: its shape.
    """

    def __init__(self, config: HyperEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.backbone = nn.Sequential(
            _resize(config.in_channels, width, halve=config.grid < 16),
            *_bottlenecks(width),
            _resize(width, width, halve=config.grid < 32),
            *_bottlenecks(width),
            Attention(width),
            _resize(width, width, halve=config.grid < 64),
            *_bottlenecks(width),
            nn.Conv2d(width, config.features, 1),
            Attention(config.features),
        )
        self.quantizer = VectorQuantizer(config.features, config.codebook_dim, config.codebook_size)

    def grid_size(self, latent_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the indices of a latent of this (height, width)."""
        return -(-latent_size[0] // self.config.stride), -(-latent_size[1] // self.config.stride)

    def analyse(self, latents: Tensor) -> Tensor:
        """Return features, not quantised, shape (N, M, h', w'), of scaled latents of shape (N, C, h, w).

        Where the latent's size is not one of whole indices it is continued at the edge.
        """
        features: Tensor = self.backbone(pad_to_multiple(latents, self.config.stride))
        return features

    def forward(self, latents: Tensor) -> Quantised:
        """Quantise scaled latents of shape (N, C, h, w)."""
        quantised: Quantised = self.quantizer(self.analyse(latents))
        return quantised

    def spread(self, features: Tensor, latent_size: tuple[int, int]) -> Tensor:
        """Repeat features of shape (N, M, h, w) up to the resolution of the latent, and cut them to its size."""
        stride = self.config.stride
        wide = features.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        return wide[..., : latent_size[0], : latent_size[1]]


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions, half as wide within.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = _narrow(width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        made: Tensor = features + self.layers(features)
        return made


class Unit(nn.Module):
    """The residual unit of the attention block: as `Bottleneck`, under another name and rectified.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _narrow(width)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        return torch.relu(features + self.conv(features))


class Attention(nn.Module):
    """The simplified attention of Cheng et al. 2020 (arXiv 2001.01568): a gate of convolutions alone.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(Unit(width) for _ in range(3)))
        self.conv_b = nn.Sequential(*(Unit(width) for _ in range(3)), nn.Conv2d(width, width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        made: Tensor = features + self.conv_a(features) * torch.sigmoid(self.conv_b(features))
        return made


def _resize(channels: int, width: int, *, halve: bool) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 5, stride=2, padding=2) if halve else nn.Conv2d(channels, width, 1)


def _bottlenecks(width: int) -> list[nn.Module]:
    return [Bottleneck(width) for _ in range(3)]


def _narrow(width: int) -> nn.Sequential:
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(width, half, 1),
        nn.ReLU(),
        nn.Conv2d(half, half, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(half, width, 1),
    )
