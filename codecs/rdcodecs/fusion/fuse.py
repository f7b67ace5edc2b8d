"""How adapter features meet the features of the frozen U-Net: by attention, or by plain addition."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.fusion.config import FusionConfig

_REACH = 1
"""Neighbours on each side that a position may look at."""
_OFFSETS = [(dy, dx) for dy in range(2 * _REACH + 1) for dx in range(2 * _REACH + 1)]


class AttentiveFusion(nn.Module):
    """Each position of the U-Net's features attends to the adapter's features around it.

    The query comes from the U-Net's features, and with them from the noise level and from what has been denoised so
    far; keys and values come from the adapter's, once for all steps. The paper says only that its fusion attends
    to both and captures spatial detail and their correlation; 3x3 neighbourhoods, a learned bias for each offset and a
    sink that lets a position take nothing are our choice. The output projection starts at zero, so that before
    training the prior is as it was.

    Args:
        config: heads and their width.
        channels: of the U-Net's features.
        width: of the adapter's features.
    """

    def __init__(self, config: FusionConfig, channels: int, width: int) -> None:
        super().__init__()
        inner = config.heads * config.head_channels
        self._heads = config.heads
        self._scale = config.head_channels**-0.5
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(width, inner, 1)
        self.value = nn.Conv2d(width, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        # At first the position itself counts most.
        bias = torch.zeros(config.heads, len(_OFFSETS))
        bias[:, len(_OFFSETS) // 2] = 2.0
        self.bias = nn.Parameter(bias)

    def prepare(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what of the adapter's features does not change over the steps: keys and values, with a margin."""
        margin = (_REACH,) * 4
        return functional.pad(self.key(features), margin), functional.pad(self.value(features), margin)

    def forward(self, features: Tensor, prepared: Any) -> Tensor:
        """Return the fused features, shape (N, C, h, w).

        Args:
            features: of the U-Net, same shape.
            prepared: of the adapter's features of the same height and width.
        """
        keys, values = prepared
        count, _, height, width = features.shape
        queries = self._by_head(self.query(_unit(features)) * self._scale)

        def shifted(tensor: Tensor, offset: tuple[int, int]) -> Tensor:
            top, left = offset
            return self._by_head(tensor[..., top : top + height, left : left + width])

        logits = torch.stack([(queries * shifted(keys, offset)).sum(dim=2) for offset in _OFFSETS], dim=2)
        sink = logits.new_zeros(count, self._heads, 1, height, width)
        weights = torch.cat([logits + self.bias[None, :, :, None, None], sink], dim=2).softmax(dim=2)
        taken = weights[:, :, 0, None] * shifted(values, _OFFSETS[0])
        for index, offset in enumerate(_OFFSETS[1:], start=1):
            taken = taken + weights[:, :, index, None] * shifted(values, offset)
        fused: Tensor = features + self.out(taken.flatten(1, 2))
        return fused

    def _by_head(self, tensor: Tensor) -> Tensor:
        count, channels, height, width = tensor.shape
        return tensor.reshape(count, self._heads, channels // self._heads, height, width)


def _unit(features: Tensor) -> Tensor:
    """Return features whose root mean square over the channels is 1 at each position."""
    # In single precision: the squares of half-precision features overflow.
    scale = features.float().square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
    return features * scale.to(features.dtype)


class AdditiveFusion(nn.Module):
    """The adapter's features are projected and added: the ablation "Ours-AE".

    Args:
        config: not used; both kinds are made alike.
        channels: of the U-Net's features.
        width: of the adapter's features.
    """

    def __init__(self, config: FusionConfig, channels: int, width: int) -> None:
        super().__init__()
        del config
        self.out = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def prepare(self, features: Tensor) -> Tensor:
        """Return what is added."""
        prepared: Tensor = self.out(features)
        return prepared

    def forward(self, features: Tensor, prepared: Any) -> Tensor:
        """Return the fused features, shape (N, C, h, w), as for `AttentiveFusion`."""
        fused: Tensor = features + prepared
        return fused
