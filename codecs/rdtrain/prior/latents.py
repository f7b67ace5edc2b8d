"""The latents of the training images, computed once the autoencoder stands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rdcodecs.pixels import to_tensor
from rdcodecs.prior.autoencoders import latent_space_digest, modes, scaled
from rdcodecs.tensor_file import save_tensors
from rdtrain.core.data import Crops
from rdtrain.core.precision import mixed_precision


@dataclass(frozen=True)
class Latents:
    """Latents in memory.

    Attributes:
        train: shape (2·N, h, w, C): of each crop and of its mirror image.
        held_out: shape (M, h, w, C).
        encoder: digest of the latent space that they lie in.
    """

    train: Tensor
    held_out: Tensor
    encoder: str


def stored_latents(folder: Path, autoencoder: nn.Module, crops: Crops, device: torch.device) -> Latents:
    """Return the latents of all crops, from a file in a training's folder where an earlier run has left them there.

    The file's name tells encoder and images, so that it can be copied to other trainings of the same.

    Args:
        folder: of the training.
        autoencoder: makes the latents.
        crops: the images.
        device: where to make them.
    """
    digest = latent_space_digest(autoencoder)
    path = folder / f"latents-{digest[:12]}-{crops.digest[:12]}.safetensors"
    if path.is_file():
        try:
            tensors = load_file(path, device=str(device))
            return Latents(tensors["train"], tensors["held_out"], digest)
        except (SafetensorError, KeyError, OSError):
            pass  # half written: they are made anew
    made = make_latents(autoencoder, crops, device)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors({"train": made.train.cpu().contiguous(), "held_out": made.held_out.cpu().contiguous()}, path)
    return made


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
            parts.append(scaled(mode.float(), model).permute(0, 2, 3, 1).contiguous())
        return torch.cat(parts)

    train = torch.cat([encode(crops.train, mirror=False), encode(crops.train, mirror=True)])
    return Latents(train, encode(crops.held_out, mirror=False), latent_space_digest(autoencoder))
