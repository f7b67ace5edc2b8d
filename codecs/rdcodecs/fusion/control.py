"""Adapter and fusion together: what stage 2 trains."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from rdcodecs.fusion.adapter import Adapter
from rdcodecs.fusion.config import FusionConfig
from rdcodecs.fusion.fuse import AdditiveFusion, AttentiveFusion
from rdcodecs.prior.features import Edit, Site

_FUSIONS: dict[str, type[nn.Module]] = {"attentive": AttentiveFusion, "additive": AdditiveFusion}


class Control(nn.Module):
    """Steers a frozen U-Net towards the image that a decoded latent stands for.

    Args:
        config: its shape.
        sites: where the U-Net's features are fused, by name.
        channels: of the decoded latent.
        levels: rate levels of the hyperprior.
        prior_stride: pixels to a sample of the prior's latent.
        prior_channels: of the prior's latent.
    """

    def __init__(
        self,
        config: FusionConfig,
        sites: Mapping[str, Site],
        channels: int,
        levels: int,
        prior_stride: int,
        prior_channels: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.sites = dict(sites)
        strides = [site.stride for site in sites.values()]
        self.adapter = Adapter(config, channels, levels, strides, prior_stride, prior_channels)
        # Module names may not have full stops.
        self.fusions = nn.ModuleDict(
            {
                _key(name): _FUSIONS[config.kind](config, site.channels, Adapter.width(config, site.stride))
                for name, site in sites.items()
            }
        )

    def prepare(
        self, latents: Tensor, levels: Tensor, size: tuple[int, int], sketch: Tensor | None = None
    ) -> dict[str, Any]:
        """Return what the fusion at each site needs of a decoded latent: computed once for all steps.

        Args:
            latents: decoded, gain undone.
            levels: shape (N,).
            size: (h, w) of the prior's latent.
            sketch: a latent of the prior, of `Sketcher`, for a control that takes it.
        """
        pyramid = self.adapter(latents, levels, size, sketch)
        return {name: self._fusion(name).prepare(pyramid[site.stride]) for name, site in self.sites.items()}

    def edits(self, prepared: Mapping[str, Any]) -> dict[str, Edit]:
        """Return the edits of the U-Net's features, for `rdcodecs.prior.features.edit_features`."""
        return {name: partial(self._fuse, name, prepared[name]) for name in self.sites}

    def _fuse(self, name: str, prepared: Any, features: Tensor) -> Tensor:
        fused: Tensor = self._fusion(name)(features, prepared)
        return fused

    def _fusion(self, name: str) -> Any:
        return self.fusions[_key(name)]


def _key(name: str) -> str:
    return name.replace(".", "_")
