"""From a training's averaged weights to a folder that plain diffusers loads."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rdcodecs.optional import diffusers
from rdcodecs.pixels import to_tensor
from rdcodecs.prior.autoencoders import modes
from rdcodecs.prior.folder import read_json
from rdcodecs.tensor_file import give_usual_rights

_MODEL_INDEX = "model_index.json"


@torch.no_grad()
def blended(trained: nn.Module, start: nn.Module, kept: float) -> nn.Module:
    """Return a network whose weights lie on the line between those of a training's end and those that it began with.

    Fine-tuned weights and their start are often joined by networks better than both (Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models", equation 1); ESRGAN (Wang et al. 2018, section 3.4) trades artefacts of an
    adversarial loss for fidelity so.

    Args:
        trained: the end.
        start: the beginning, of the same shape.
        kept: share of the beginning, from 0 to 1.
    """
    model = copy.deepcopy(trained)
    begun = start.state_dict()
    model.load_state_dict(
        {
            name: value.lerp(begun[name].to(value), kept) if value.is_floating_point() else value
            for name, value in trained.state_dict().items()
        }
    )
    return model


@torch.no_grad()
def whitened(autoencoder: nn.Module, images: Tensor, batch: int = 32) -> nn.Module:
    """Return a copy whose latents have standard deviation 1 in every channel, and mean 0 where there is a posterior.

    The affine map of each channel goes into the two convolutions on either side of the latent, which is exact:
    reconstructions do not change. Those of an `AutoencoderDC` are wider than a pixel, and at their zero padding a
    shift would not be exact: it keeps its means. The scaling factor becomes 1.

    Args:
        autoencoder: an `AutoencoderKL`, or an `AutoencoderDC` without shortcuts at its latent.
        images: uint8, shape (N, H, W, 3): those to measure on.
        batch: images to a pass.
    """
    model: Any = copy.deepcopy(autoencoder).eval()
    device = next(model.parameters()).device
    latents = torch.cat([modes(model, to_tensor(part.to(device))) for part in torch.split(images, batch)]).double()
    deviation = latents.std(dim=(0, 2, 3)).clamp(min=1e-6)
    channels = len(deviation)
    posterior = hasattr(model, "quant_conv")
    inner, outer = (
        (model.quant_conv, model.post_quant_conv) if posterior else (model.encoder.conv_out, model.decoder.conv_in)
    )
    mean = latents.mean(dim=(0, 2, 3)) if posterior else torch.zeros_like(deviation)
    inner.weight[:channels] = (inner.weight[:channels].double() / deviation.reshape(-1, 1, 1, 1)).to(inner.weight)
    inner.bias[:channels] = ((inner.bias[:channels].double() - mean) / deviation).to(inner.bias)
    # The second half, where there is one, is the logarithm of the variance.
    inner.bias[channels:] -= 2 * deviation.log().to(inner.bias) if posterior else 0
    outer.bias += (outer.weight.double().sum(dim=(2, 3)) @ mean).to(outer.bias)
    outer.weight.copy_(outer.weight.double() * deviation.reshape(1, -1, 1, 1))
    model.register_to_config(scaling_factor=1.0)
    return model  # type: ignore[no-any-return]


def export_autoencoder(autoencoder: nn.Module, folder: Path) -> None:
    """Write ``vae/`` in fp16 safetensors."""
    _save_half(autoencoder, folder / "vae")


def export_unet(unet: nn.Module, scheduler: Mapping[str, Any], folder: Path) -> None:
    """Write ``unet/``, ``scheduler/`` and the index that makes a model of the parts."""
    library = diffusers()
    _save_half(unet, folder / "unet")
    library.DDIMScheduler.from_config(dict(scheduler)).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DiffusionPipeline",
        "_diffusers_version": library.__version__,
        "vae": ["diffusers", read_json(folder / "vae" / "config.json")["_class_name"]],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (folder / _MODEL_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _save_half(module: nn.Module, folder: Path) -> None:
    model: Any = copy.deepcopy(module).to("cpu", torch.float16)
    # Contiguous: safetensors stores no memory layouts.
    model.to(memory_format=torch.contiguous_format)
    model.save_pretrained(folder, safe_serialization=True)
    for tensors in folder.glob("*.safetensors"):
        give_usual_rights(tensors)
    # diffusers remembers where a model was loaded from: a path of this machine, which is nobody's business.
    path = folder / "config.json"
    config = {key: value for key, value in read_json(path).items() if key != "_name_or_path"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
