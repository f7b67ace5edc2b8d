"""The latents of the training images, computed once the autoencoder stands."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rdcodecs.pixels import to_tensor
from rdcodecs.prior.autoencoders import encoding_parts, modes
from rdcodecs.training.data import Crops
from rdcodecs.training.task import mixed_precision


@dataclass(frozen=True)
class Latents:
    """Latents in memory.

    Attributes:
        train: shape (2·N, h, w, C): of each crop and of its mirror image.
        held_out: shape (M, h, w, C).
        encoder: SHA-256 of the encoder that made them.
    """

    train: Tensor
    held_out: Tensor
    encoder: str


@torch.inference_mode()
def make_latents(autoencoder: nn.Module, crops: Crops, device: torch.device, batch: int = 32) -> Latents:
    """Encode all crops (posterior modes, scaled)."""
    model: Any = autoencoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def encode(images: Tensor, mirror: bool) -> Tensor:
        parts = []
        for part in torch.split(images, batch):
            pixels = to_tensor(part.to(device))
            with mixed_precision(device):
                mode = modes(model, pixels.flip(-1) if mirror else pixels)
            parts.append(mode.float().mul(model.config.scaling_factor).permute(0, 2, 3, 1).contiguous())
        return torch.cat(parts)

    train = torch.cat([encode(crops.train, mirror=False), encode(crops.train, mirror=True)])
    return Latents(train, encode(crops.held_out, mirror=False), encoder_digest(autoencoder))


def encoder_digest(autoencoder: nn.Module) -> str:
    """Return a SHA-256 of the weights that decide the latents."""
    digest = hashlib.sha256()
    for part, module in encoding_parts(autoencoder):
        for name, value in sorted(module.state_dict(prefix=f"{part}.").items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
