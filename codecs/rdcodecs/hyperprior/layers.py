"""Building blocks of the transforms."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.1


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        inner = functional.leaky_relu(self.first(functional.leaky_relu(features, _SLOPE)), _SLOPE)
        made: Tensor = features + self.second(inner)
        return made


class LevelAffine(nn.Module):
    """Scale and shift of each channel that depend on the rate level; the identity before training.

    Args:
        levels: number of rate levels.
        width: channels.
    """

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(levels, width))
        self.shift = nn.Parameter(torch.zeros(levels, width))

    def forward(self, features: Tensor, levels: Tensor) -> Tensor:
        """Return the features changed.

        Args:
            features: shape (N, C, h, w).
            levels: one per image, shape (N,).
        """
        scale, shift = self.scale[levels][:, :, None, None], self.shift[levels][:, :, None, None]
        return features * (1 + scale) + shift


class Stage(nn.Module):
    """Residual blocks at one resolution, with what the rate level changes.

    Args:
        width: channels.
        blocks: their number.
        levels: number of rate levels.
    """

    def __init__(self, width: int, blocks: int, levels: int) -> None:
        super().__init__()
        self.level = LevelAffine(levels, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))

    def forward(self, features: Tensor, levels: Tensor) -> Tensor:
        """Return features of the same shape (N, C, h, w); `levels` has shape (N,)."""
        features = self.level(features, levels)
        for block in self.blocks:
            features = block(features)
        return features


def upsampling(channels: int, width: int, factor: int = 2) -> nn.Sequential:
    """Return a convolution that enlarges features by sub-pixel shuffling (Shi et al. 2016)."""
    return nn.Sequential(nn.Conv2d(channels, width * factor**2, 3, padding=1), nn.PixelShuffle(factor))
