"""Shape of the hyper-encoder, and the rate points that are published."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from rdcodecs.settings import MOST_CHANNELS, whole_number

GRIDS: Final = (8, 16, 32, 64)
"""Sides that the grid of indices of a 512x512 image may have."""

_REFERENCE_GRID: Final = 64  # of the latent of a 512x512 image
_PUBLIC_NAMES: Final = MappingProxyType(
    {
        "in_channels": "in_channels",
        "N": "width",
        "M": "features",
        "codebook_dim": "codebook_dim",
        "cfg_ss": "grid",
        "cfg_cs": "codebook_size",
    }
)
"""Names in the public checkpoints' config.json → ours."""


@dataclass(frozen=True)
class HyperEncoderConfig:
    """Shape of one rate point's hyper-encoder and codebook; the defaults are those of the public checkpoints.

    Attributes:
        in_channels: of the latent.
        width: channels of most layers.
        features: channels of what the U-Net is given.
        codebook_dim: of the codebook's entries.
        grid: side of the grid of indices of a 512x512 image; other images get proportionally more or fewer.
        codebook_size: number of entries, 2 to 16384.

    Raises:
        ValueError: the grid or the codebook has a size that is not supported.
    """

    in_channels: int = 4
    width: int = 192
    features: int = 320
    codebook_dim: int = 32
    grid: int = 64
    codebook_size: int = 256

    def __post_init__(self) -> None:
        for name in ("in_channels", "width", "features", "codebook_dim"):
            whole_number(name, getattr(self, name), 1, MOST_CHANNELS)
        if self.grid not in GRIDS:
            raise ValueError(f"a grid of {self.grid} is not supported: it must be one of {', '.join(map(str, GRIDS))}")
        if not 2 <= self.codebook_size <= 1 << 14:
            raise ValueError(f"a codebook of {self.codebook_size} entries is not supported: it must be 2 to 16384")

    @property
    def stride(self) -> int:
        """Latent samples to an index, along each axis."""
        return _REFERENCE_GRID // self.grid

    def bits_per_pixel(self, prior_stride: int = 8) -> float:
        """Return the rate of equally likely indices, for a latent of this stride, without header and text."""
        return math.log2(self.codebook_size) / (self.stride * prior_stride) ** 2

    def to_public(self) -> dict[str, Any]:
        """Return the shape under the names of the public checkpoints."""
        return {public: getattr(self, own) for public, own in _PUBLIC_NAMES.items()}

    @classmethod
    def from_public(cls, values: Mapping[str, Any]) -> "HyperEncoderConfig":
        """Return the shape that a public checkpoint's config.json describes.

        Raises:
            ValueError: a value is not a whole number or not supported.
        """
        known = {own: values[public] for public, own in _PUBLIC_NAMES.items() if public in values}
        for name, value in known.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number above 0, not {value!r}")
        return cls(**known)


PUBLISHED: Final[Mapping[str, HyperEncoderConfig]] = MappingProxyType(
    {
        label: HyperEncoderConfig(grid=grid, codebook_size=size)
        for label, grid, size in (
            ("0.0019", 8, 256),
            ("0.0024", 8, 1024),
            ("0.0098", 16, 1024),
            ("0.0313", 32, 256),
            ("0.0507", 32, 8196),  # not 8192: a slip that the weights have inherited
            ("0.0937", 64, 64),
            ("0.1250", 64, 256),
        )
    }
)
"""The published rate points by their label, in bits per pixel without text."""
