"""Shape of the hyperprior model."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rdcodecs.settings import MOST_BLOCKS, MOST_CHANNELS, whole_number

STRIDE = 16
"""Pixels to a latent sample, along each axis."""
HYPER_STRIDE = 4
"""Latent samples to a hyper-latent sample, along each axis."""
MOST_LEVELS = 16
"""Rate levels that a stream can name."""


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
        context_width: channels of the layers of the context model, by which latents that are decoded first tell of
            the others; 0 for none.
        sketch_channels: of the latent of the diffusion model whose sketch a decoder of its own draws from y; 0 for no
            such decoder. Our choice: the paper's stage 1 knows no diffusion model.
        sketch_stride: pixels to a sample of that latent, 4, 8 or 16.
        sketch_blocks: residual blocks of that decoder at each of its sizes.
        rounding_offset: f in sign(x)·floor(abs(x) + f) (ties to even), by which the encoder rounds latents less their
            means, at the lowest level; it goes evenly to 0.5, to the nearest, at the highest. From 0.5 to below 1;
            above 0.5 the bin of zero is narrower: where nearly all is zero, what is left is worth more than squared
            error says.
    """

    levels: int = 8
    widths: tuple[int, int, int] = (64, 128, 192)
    blocks: int = 2
    latent_channels: int = 128
    hyper_channels: int = 64
    hyper_width: int = 96
    context_width: int = 0
    sketch_channels: int = 0
    sketch_stride: int = 8
    sketch_blocks: int = 1
    rounding_offset: float = 0.5

    def __post_init__(self) -> None:
        whole_number("levels", self.levels, 1, MOST_LEVELS)
        if not isinstance(self.widths, tuple) or len(self.widths) != 3:
            raise ValueError(f"widths must be three numbers of channels, not {self.widths!r}")
        for width in self.widths:
            whole_number("widths", width, 1, MOST_CHANNELS)
        for name in ("latent_channels", "hyper_channels", "hyper_width"):
            whole_number(name, getattr(self, name), 1, MOST_CHANNELS)
        for name in ("context_width", "sketch_channels"):
            whole_number(name, getattr(self, name), 0, MOST_CHANNELS)
        for name in ("blocks", "sketch_blocks"):
            whole_number(name, getattr(self, name), 1, MOST_BLOCKS)
        if self.sketch_stride not in (4, 8, STRIDE):
            raise ValueError(f"a sketch_stride of {self.sketch_stride} is not 4, 8 or {STRIDE}")
        if isinstance(self.rounding_offset, bool) or not isinstance(self.rounding_offset, int | float):
            raise ValueError(f"rounding_offset is {self.rounding_offset!r}: it must be a number")
        if not 0.5 <= self.rounding_offset < 1:
            raise ValueError(f"rounding_offset is {self.rounding_offset}: from 0.5, to the nearest, to below 1")

    @property
    def rounding_excess(self) -> list[float]:
        """How much earlier than at the half latents are rounded away from zero, at each level."""
        most, last = self.rounding_offset - 0.5, max(1, self.levels - 1)
        return [most * (1 - level / last) for level in range(self.levels)]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; what older versions did not know is left out at its default: digests stay."""
        values = dataclasses.asdict(self)
        if not self.sketch_channels:
            del values["sketch_channels"], values["sketch_stride"]
        if not self.sketch_channels or self.sketch_blocks == 1:
            del values["sketch_blocks"]
        if not self.context_width:
            del values["context_width"]
        if self.rounding_offset == HyperpriorConfig.rounding_offset:
            del values["rounding_offset"]
        return values
