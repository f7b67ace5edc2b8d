"""Fidelity enhancement by a network: what local renormalization leaves, corrected by what both pictures show.

Our choice: the document's enhancement is a renormalization alone. The diffusion model's picture has the detail, but no
more than its autoencoder can hold; the auxiliary decoder's has none of that limit, and is blurred. Where which is to be
trusted is learnt.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.hyperprior.layers import Stage, upsampling

_FOLD = 2
"""Pixels to a side of what is one place of the finest features: at full size the same work sees a quarter as much."""
_GRID = 2 * _FOLD
"""Pixels to a side of a place of the coarsest features."""


@dataclass(frozen=True)
class EnhancerConfig:
    """Shape of the enhancer.

    Attributes:
        fine: channels at half the image's size.
        wide: channels at a quarter of it.
        blocks: residual blocks at a quarter of it; at half there are one before and one after.
    """

    fine: int = 32
    wide: int = 80
    blocks: int = 3

    def __post_init__(self) -> None:
        for name, value in (("fine", self.fine), ("wide", self.wide), ("blocks", self.blocks)):
            if value < 1:
                raise ValueError(f"{name} is {value}: at least 1")

    @property
    def reach(self) -> int:
        """Pixels, whole places of the coarsest features: no sample of the output depends on an input farther away."""
        # Two convolutions to a block, one more on the way down and up, and at half the size three before, three after.
        coarse, fine = 2 * self.blocks + 2, 6
        return _GRID * (coarse + -(-fine // 2))


class Enhancer(nn.Module):
    """Adds a correction to pictures; none before training.

    Args:
        config: its shape.
        levels: rate levels of the hyperprior.
    """

    def __init__(self, config: EnhancerConfig, levels: int) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Conv2d(2 * 3 * _FOLD**2, config.fine, 3, padding=1)
        self.before = Stage(config.fine, 1, levels)
        self.down = nn.Conv2d(config.fine, config.wide, 3, stride=2, padding=1)
        self.body = Stage(config.wide, config.blocks, levels)
        self.up = upsampling(config.wide, config.fine)
        self.after = Stage(config.fine, 1, levels)
        self.leave = nn.Conv2d(config.fine, 3 * _FOLD**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None  # noqa: S101 - for the type checker
        nn.init.zeros_(self.leave.bias)

    def forward(self, pictures: Tensor, auxiliary: Tensor, levels: Tensor) -> Tensor:
        """Return pictures of the same shape (N, 3, H, W), about [-1, 1].

        Args:
            pictures: of the diffusion model, locally renormalized.
            auxiliary: the auxiliary decoder's, likewise.
            levels: shape (N,).
        """
        height, width = pictures.shape[2:]
        padding = (0, -width % _GRID, 0, -height % _GRID)
        both = functional.pad(torch.cat([pictures, auxiliary], 1), padding, mode="replicate")
        fine = self.before(self.enter(functional.pixel_unshuffle(both, _FOLD)), levels)
        wide = self.body(self.down(functional.leaky_relu(fine, 0.1)), levels)
        fine = self.after(fine + self.up(functional.leaky_relu(wide, 0.1)), levels)
        correction = functional.pixel_shuffle(self.leave(functional.leaky_relu(fine, 0.1)), _FOLD)
        return pictures + correction[..., :height, :width]


_AREA = 1024 * 1024
"""Pixels at a time, or a few more: the features of a whole large picture would take gigabytes."""


def enhance(enhancer: Enhancer, pictures: Tensor, auxiliary: Tensor, levels: Tensor) -> Tensor:
    """Return what the enhancer makes of pictures of any size, strip by strip; arguments as for `Enhancer.forward`."""
    height, width = pictures.shape[2:]
    reach = enhancer.config.reach
    rows = max(reach, _AREA // width // _GRID * _GRID)
    made = []
    for first in range(0, height, rows):
        last = min(first + rows, height)
        top, bottom = max(0, first - reach), min(height, last + reach)
        strip = enhancer(pictures[:, :, top:bottom], auxiliary[:, :, top:bottom], levels)
        made.append(strip[:, :, first - top : last - top])
    return torch.cat(made, 2)
