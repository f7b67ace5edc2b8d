"""Fidelity enhancement by a network: what local renormalization leaves, corrected by what both pictures show.

Our choice: the paper's enhancement is a renormalization alone. The diffusion model's picture has the detail, but no
more than its autoencoder can hold; the auxiliary decoder's has none of that limit, and is blurred. Where which is to be
trusted is learnt; and what neither shows, the decoded latents may still tell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.hyperprior.layers import Stage, upsampling
from rdcodecs.settings import MOST_BLOCKS, MOST_CHANNELS, whole_number

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
        coarse: channels at a sixteenth and an eighth, where the decoded latents come in; 0 for an enhancer that does
            not see them.
    """

    fine: int = 32
    wide: int = 80
    blocks: int = 3
    coarse: int = 0

    def __post_init__(self) -> None:
        whole_number("fine", self.fine, 1, MOST_CHANNELS)
        whole_number("wide", self.wide, 1, MOST_CHANNELS)
        whole_number("blocks", self.blocks, 1, MOST_BLOCKS)
        whole_number("coarse", self.coarse, 0, MOST_CHANNELS)

    @property
    def reach(self) -> int:
        """Pixels, whole places of the coarsest features: no sample of the output depends on one of the two pictures'
        farther away."""
        # Two convolutions to a block, one more on the way down and up, and at half the size three before, three after.
        coarse, fine = 2 * self.blocks + 2, 6
        return _GRID * (coarse + -(-fine // 2))


class Enhancer(nn.Module):
    """Adds a correction to pictures; none before training.

    Args:
        config: its shape.
        latent_channels: of the hyperprior.
        levels: rate levels of the hyperprior.
    """

    def __init__(self, config: EnhancerConfig, latent_channels: int, levels: int) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Conv2d(2 * 3 * _FOLD**2, config.fine, 3, padding=1)
        self.before = Stage(config.fine, 1, levels)
        self.down = nn.Conv2d(config.fine, config.wide, 3, stride=2, padding=1)
        self.told = _Told(config, latent_channels, levels) if config.coarse else None
        self.body = Stage(config.wide, config.blocks, levels)
        self.up = upsampling(config.wide, config.fine)
        self.after = Stage(config.fine, 1, levels)
        self.leave = _zeroed(nn.Conv2d(config.fine, 3 * _FOLD**2, 3, padding=1))

    def forward(self, pictures: Tensor, auxiliary: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
        """Return pictures of the same shape (N, 3, H, W), about [-1, 1].

        Args:
            pictures: of the diffusion model, locally renormalized.
            auxiliary: the auxiliary decoder's, likewise.
            latents: decoded, gain undone, shape (N, M, ceil(H / 16), ceil(W / 16)).
            levels: shape (N,).
        """
        return self.corrected(pictures, auxiliary, self.heard(latents, levels), levels)

    def heard(self, latents: Tensor, levels: Tensor) -> Tensor | None:
        """Return what the latents tell, at a quarter of the image's size, shape (N, C, 4·h, 4·w), if they are seen."""
        return None if self.told is None else self.told(latents, levels)

    def corrected(self, pictures: Tensor, auxiliary: Tensor, heard: Tensor | None, levels: Tensor) -> Tensor:
        """Return what `forward` does, from what `heard` gave, or the part of it that belongs to parts of pictures."""
        height, width = pictures.shape[2:]
        padding = (0, -width % _GRID, 0, -height % _GRID)
        both = functional.pad(torch.cat([pictures, auxiliary], 1), padding, mode="replicate")
        fine = self.before(self.enter(functional.pixel_unshuffle(both, _FOLD)), levels)
        wide = self.down(functional.leaky_relu(fine, 0.1))
        if heard is not None:
            wide = wide + heard[..., : wide.shape[2], : wide.shape[3]]
        wide = self.body(wide, levels)
        fine = self.after(fine + self.up(functional.leaky_relu(wide, 0.1)), levels)
        correction = functional.pixel_shuffle(self.leave(functional.leaky_relu(fine, 0.1)), _FOLD)
        return pictures + correction[..., :height, :width]


class _Told(nn.Module):
    """Decoded latents as features at a quarter of the image's size; nothing before training."""

    def __init__(self, config: EnhancerConfig, latent_channels: int, levels: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(latent_channels, config.coarse, 3, padding=1)
        self.sixteenth = Stage(config.coarse, 1, levels)
        self.to_eighth = upsampling(config.coarse, config.coarse)
        self.eighth = Stage(config.coarse, 1, levels)
        self.leave = _zeroed(nn.Conv2d(config.coarse, 4 * config.wide, 3, padding=1))

    def forward(self, latents: Tensor, levels: Tensor) -> Tensor:
        features = self.sixteenth(self.head(latents), levels)
        features = self.eighth(self.to_eighth(functional.leaky_relu(features, 0.1)), levels)
        return functional.pixel_shuffle(self.leave(functional.leaky_relu(features, 0.1)), 2)


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Return a layer that begins with nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


_AREA = 1024 * 1024
"""Pixels at a time, or a few more: the features of a whole large picture would take gigabytes."""


def enhance(enhancer: Enhancer, pictures: Tensor, auxiliary: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
    """Return what the enhancer makes of pictures of any size, strip by strip; arguments as for `Enhancer.forward`."""
    height, width = pictures.shape[2:]
    reach = enhancer.config.reach
    rows = max(reach, _AREA // width // _GRID * _GRID)
    heard = enhancer.heard(latents, levels)  # of all at once: it takes less than the two pictures
    made = []
    for first in range(0, height, rows):
        last = min(first + rows, height)
        top, bottom = max(0, first - reach), min(height, last + reach)
        seen = None if heard is None else heard[:, :, top // _GRID :]
        strip = enhancer.corrected(pictures[:, :, top:bottom], auxiliary[:, :, top:bottom], seen, levels)
        made.append(strip[:, :, first - top : last - top])
    return torch.cat(made, 2)
