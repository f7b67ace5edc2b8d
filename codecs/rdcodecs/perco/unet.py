"""The U-Net with its extended input: noisy latent and local features side by side."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

EXTENDED = "conv_in_extended"
"""The convolution that stands for `conv_in`, by its name in the public checkpoints."""


def extend_input(unet: nn.Module, local_channels: int) -> nn.Conv2d:
    """Give a `UNet2DConditionModel` the convolution for noisy latents and local features together.

    It starts as the U-Net's own for the latents, and as any new convolution for the features. `conv_in` stays, no
    longer trained: the public checkpoints have both.

    Args:
        unet: with `conv_in` only.
        local_channels: of the local features.

    Returns:
        The new convolution, which is now part of the U-Net.
    """
    own: Any = unet.conv_in
    extended = nn.Conv2d(
        own.in_channels + local_channels,
        own.out_channels,
        own.kernel_size,
        padding=own.padding,
        device=own.weight.device,
        dtype=own.weight.dtype,
    )
    with torch.no_grad():
        extended.weight[:, : own.in_channels] = own.weight
        extended.bias.copy_(own.bias)  # type: ignore[union-attr]
    own.requires_grad_(False)
    unet.add_module(EXTENDED, extended)
    return extended


@contextmanager
def local_features(unet: nn.Module, features: Tensor) -> Iterator[None]:
    """Steer every forward pass within the context by local features. Gradients flow into them.

    Args:
        unet: after `extend_input`.
        features: shape (N, C, h, w), of the latents' size. A batch of k·N latents takes them k times over, as
            classifier-free guidance does with its two branches.
    """

    def replace(_conv_in: nn.Module, inputs: tuple[Tensor, ...], _unused: Tensor) -> Tensor:
        noisy = inputs[0]
        local = features.to(noisy).repeat(len(noisy) // len(features), 1, 1, 1)
        made: Tensor = unet.get_submodule(EXTENDED)(torch.cat([noisy, local], dim=1))
        return made

    # A hook, not a forward pass of our own: the rest of diffusers' forward is used as it is.
    handle = unet.get_submodule("conv_in").register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
