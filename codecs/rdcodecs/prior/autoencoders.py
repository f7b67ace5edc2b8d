"""The autoencoders of diffusers that a prior may have, and what they differ in."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rdcodecs.digests import network_digest, tensors_digest

KINDS = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC")
"""Classes of diffusers. The first has a posterior, the other two give a latent; the last is that of Chen et al. 2024,
"Deep compression autoencoder", which works on shuffled pixels and is several times faster than the first."""

_ENCODING = ("encoder", "quant_conv")


def moments(autoencoder: nn.Module, images: Tensor) -> Tensor:
    """Return what the encoder says of images, before any scaling.

    Args:
        autoencoder: one of `KINDS`.
        images: shape (N, 3, H, W) in [-1, 1], sides a multiple of the stride.

    Returns:
        Shape (N, C, h, w): the latents; or (N, 2·C, h, w): mean and log variance of their posterior.
    """
    output: Any = autoencoder.encode(images)  # type: ignore[operator]
    posterior = getattr(output, "latent_dist", None)
    if posterior is not None:
        return posterior.parameters  # type: ignore[no-any-return]
    # diffusers names it in the singular in one class and in the plural in the other.
    return output.latent if hasattr(output, "latent") else output.latents  # type: ignore[no-any-return]


def modes(autoencoder: nn.Module, images: Tensor) -> Tensor:
    """Return the latents of images, the posterior's mean where there is one; arguments as for `moments`."""
    channels: int = autoencoder.config.latent_channels  # type: ignore[union-attr,assignment]
    return moments(autoencoder, images)[:, :channels]


def encoding_parts(autoencoder: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of each part that makes latents; the rest makes pictures of them."""
    for name in _ENCODING:
        part = getattr(autoencoder, name, None)
        if part is not None:
            yield name, part


def scaling(autoencoder: nn.Module) -> tuple[float, float]:
    """Return scale and shift: the U-Net takes (latent - shift)·scale, as diffusers has it."""
    config: Any = autoencoder.config
    return float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0.0)


def scaled(latents: Tensor, autoencoder: nn.Module) -> Tensor:
    """Return the encoder's latents as the U-Net takes them."""
    scale, shift = scaling(autoencoder)
    return (latents - shift) * scale


def unscaled(latents: Tensor, autoencoder: nn.Module) -> Tensor:
    """Return the U-Net's latents as the decoder takes them."""
    scale, shift = scaling(autoencoder)
    return latents / scale + shift


def latent_space_digest(autoencoder: nn.Module) -> str:
    """Return a SHA-256 of the weights and the scaling that decide latents, the same in half and in single precision.

    Autoencoders of one architecture that share it differ in their decoders at most: what makes latents for one makes
    them for the other.
    """
    weights = {
        f"{part}.{name}": value.detach().cpu().half()
        for part, module in encoding_parts(autoencoder)
        for name, value in module.state_dict().items()
    }
    return tensors_digest(weights | {"scale": torch.tensor(scaling(autoencoder))})


def names_latents(digest: str, autoencoder: nn.Module) -> bool:
    """Say whether a digest that weights carry means the latents of this autoencoder.

    Weights that were trained before decoders could be exchanged name all of their autoencoder (`network_digest`).
    """
    return digest in (latent_space_digest(autoencoder), network_digest(autoencoder))


def last_weight(autoencoder: Any) -> nn.Parameter:
    """Return the weight of the decoder's last convolution."""
    last = autoencoder.decoder.conv_out
    convolution: Any = last if isinstance(last, nn.Conv2d) else last.conv
    return convolution.weight  # type: ignore[no-any-return]
