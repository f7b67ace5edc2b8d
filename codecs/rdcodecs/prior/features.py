"""Reach the internal features of a diffusers U-Net, to read or to change them, through forward hooks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rdcodecs.prior.errors import PriorError

Edit = Callable[[Tensor], Tensor]
"""Takes features of shape (N, C, h, w) and returns features of the same shape."""


@dataclass(frozen=True)
class Site:
    """A place in a U-Net whose features can be read and changed.

    Attributes:
        name: "in" (first convolution), "down.0", "down.1" ... (output of a down block, which is also its last
            skip connection), "mid", "up.0", "up.1" ... (output of an up block).
        channels: of the features.
        stride: latent samples to a feature sample, along each axis.
        module: where the hook goes, by its name in the U-Net.
    """

    name: str
    channels: int
    stride: int
    module: str


def feature_sites(unet: nn.Module) -> dict[str, Site]:
    """Return the sites of a `UNet2DConditionModel`, by name, in the order in which they are computed."""
    widths: Sequence[int] = unet.config.block_out_channels  # type: ignore[assignment,union-attr]
    last = len(widths) - 1
    sites = [Site("in", widths[0], 1, "conv_in")]
    for index, width in enumerate(widths):
        sites.append(Site(f"down.{index}", width, 2 ** min(index + 1, last), f"down_blocks.{index}"))
    if getattr(unet, "mid_block", None) is not None:
        sites.append(Site("mid", widths[-1], 2**last, "mid_block"))
    for index, width in enumerate(reversed(widths)):
        sites.append(Site(f"up.{index}", width, 2 ** max(last - index - 1, 0), f"up_blocks.{index}"))
    return {site.name: site for site in sites}


@contextmanager
def edit_features(unet: nn.Module, edits: Mapping[str, Edit]) -> Iterator[None]:
    """Change features in every forward pass within the context. Gradients flow through the edits.

    At a "down" site the edited features go on both to the next block and to the skip connection, as they do in
    the U-Net itself.

    Args:
        unet: a `UNet2DConditionModel`.
        edits: site name → function from the features to the features that replace them.

    Raises:
        PriorError: no such site, or an edit returns features of another shape.
    """
    sites = feature_sites(unet)
    with ExitStack() as stack:
        for name, edit in edits.items():
            if name not in sites:
                raise PriorError(f"the U-Net has no features '{name}': have {', '.join(sites)}")
            module = unet.get_submodule(sites[name].module)
            handle = module.register_forward_hook(_hook(name, edit))
            stack.callback(handle.remove)
        yield


@contextmanager
def read_features(unet: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect features: after each forward pass the mapping given out holds that pass's features by site name.

    Raises:
        PriorError: no such site.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Edit:
        def edit(features: Tensor) -> Tensor:
            seen[name] = features
            return features

        return edit

    with edit_features(unet, {name: keep(name) for name in names}):
        yield seen


def _hook(name: str, edit: Edit) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        # A down block returns its features and the tuple of its skip connections, the last of which they are.
        features = output[0] if isinstance(output, tuple) else output
        edited = edit(features)
        if edited is features:
            return output
        if edited.shape != features.shape:
            raise PriorError(
                f"the edit at '{name}' made features of shape {tuple(edited.shape)} from {tuple(features.shape)}"
            )
        return (edited, (*output[1][:-1], edited)) if isinstance(output, tuple) else edited

    return hook
