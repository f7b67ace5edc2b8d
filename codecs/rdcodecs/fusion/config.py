"""Shape of the adapter and of the fusion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rdcodecs.prior.features import Site
from rdcodecs.settings import MOST_BLOCKS, MOST_CHANNELS, whole_number

Kind = Literal["attentive", "additive"]
KINDS: tuple[Kind, ...] = ("attentive", "additive")


@dataclass(frozen=True)
class FusionConfig:
    """Shape of the control: adapter F and the fusion into the prior's U-Net.

    Attributes:
        kind: how the adapter's features meet the U-Net's.
        width: the adapter's channels at the resolution of the prior's latent.
        wide: its channels at all coarser resolutions.
        blocks: its residual blocks at each resolution.
        heads: of the attention.
        head_channels: of each head.
        sketch: give the adapter a sketch too, a latent of the prior that the hyperprior draws or that the auxiliary
            decoder's picture is encoded to; our choice, the paper's has none.
        span: share of the prior's noise levels, from pure noise down, that it is trained for and that sampling walks
            through; the clean latents predicted at the last are what is drawn. 1 is DDIM as the paper has it.
    """

    kind: Kind = "attentive"
    width: int = 64
    wide: int = 96
    blocks: int = 1
    heads: int = 4
    head_channels: int = 16
    sketch: bool = False
    span: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {str(self.kind)[:40]}: it must be one of {', '.join(KINDS)}")
        for name in ("width", "wide", "heads", "head_channels"):
            whole_number(name, getattr(self, name), 1, MOST_CHANNELS)
        whole_number("blocks", self.blocks, 1, MOST_BLOCKS)
        if not isinstance(self.sketch, bool):
            raise ValueError(f"sketch is {str(self.sketch)[:40]}: it must be true or false")
        if isinstance(self.span, bool) or not isinstance(self.span, int | float) or not 0 < self.span <= 1:
            raise ValueError(f"span is {str(self.span)[:40]}: it must be above 0 and at most 1")


def fusion_sites(sites: Mapping[str, Site]) -> dict[str, Site]:
    """Return the places of a U-Net where features are fused: our choice, the paper does not name its own.

    On the way down the first convolution and every block but the last, whose features are the middle's; the middle;
    and on the way up the last features of each resolution.

    Args:
        sites: all that can be reached, in the order of computation.
    """
    chosen: dict[str, Site] = {}
    down = [name for name in sites if name.startswith("down.")]
    for name in ["in", *down[:-1], "mid"]:
        if name in sites:
            chosen[name] = sites[name]
    last = {site.stride: name for name, site in sites.items() if name.startswith("up.")}
    for name in sites:
        if name in last.values():
            chosen[name] = sites[name]
    return chosen
