"""Shape of the hyperprior model."""

from dataclasses import dataclass

STRIDE = 16
"""Pixels to a latent sample, along each axis."""
HYPER_STRIDE = 4
"""Latent samples to a hyper-latent sample, along each axis."""


@dataclass(frozen=True)
class HyperpriorConfig:
    """Shape of encoder, entropy model and auxiliary decoder.

    Attributes:
        levels: rate levels that the one model serves, 1 to 16.
        widths: channels at a quarter, an eighth and a sixteenth of the image's size.
        blocks: residual blocks at each of these.
        latent_channels: of the latent y, at a sixteenth.
        hyper_channels: of the hyper-latent z, at a 64th.
        hyper_width: of the layers of the hyper-synthesis.
    """

    levels: int = 8
    widths: tuple[int, int, int] = (64, 128, 192)
    blocks: int = 2
    latent_channels: int = 128
    hyper_channels: int = 64
    hyper_width: int = 96
