"""A trained control as a folder: `config.json` and `model.safetensors`."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rdcodecs.codec import CodecError, MissingDependencyError
from rdcodecs.digests import network_digest, tensors_digest
from rdcodecs.fusion.config import FusionConfig, fusion_sites
from rdcodecs.fusion.control import Control
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.prior import Prior
from rdcodecs.tensor_file import save_tensors

_CONFIG, _MODEL = "config.json", "model.safetensors"
_FORMAT = 1


def make_control(config: FusionConfig, prior: Prior, hyperprior: TrainedHyperprior) -> Control:
    """Return an untrained control that fits a prior and a hyperprior."""
    shape = hyperprior.config
    sites = fusion_sites(prior.sites)
    return Control(config, sites, shape.latent_channels, shape.levels, prior.stride, prior.channels)


def save_control(folder: Path, control: Control, prior: Prior, hyperprior: TrainedHyperprior) -> None:
    """Write a trained control in fp16, with what it was trained for."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in control.state_dict().items()}
    save_tensors(tensors, folder / _MODEL)
    config = {
        "format": _FORMAT,
        "prior": network_digest(prior.unet),
        "hyperprior": hyperprior.digest.hex(),
        "shape": dataclasses.asdict(control.config),
    }
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_control(folder: Path, prior: Prior, hyperprior: TrainedHyperprior) -> tuple[Control, str]:
    """Read a trained control, onto the prior's device and in its type.

    Returns:
        The control, and the SHA-256 of its weights as hex digits.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, of a newer format, or was trained for another prior or hyperprior.
    """
    control, digest = _read(folder, prior, hyperprior, foreign=False)
    control.requires_grad_(False).eval()
    control.to(prior.device, prior.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return control, digest


def trainable_control(folder: Path, prior: Prior, hyperprior: TrainedHyperprior) -> Control:
    """Read a trained control to train it further, for this prior and hyperprior or for others of the same shapes.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, of a newer format, or does not fit.
    """
    return _read(folder, prior, hyperprior, foreign=True)[0]


def _read(folder: Path, prior: Prior, hyperprior: TrainedHyperprior, *, foreign: bool) -> tuple[Control, str]:
    for name in (_CONFIG, _MODEL):
        if not (folder / name).is_file():
            raise MissingDependencyError(
                f"'{folder}' lacks {name}: train it with 'rdbench train fusion --stage 2 --prior {prior.name}'"
            )
    try:
        config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        if config["format"] != _FORMAT:
            raise ValueError("it is of a format that this version does not read")
        control = make_control(FusionConfig(**config["shape"]), prior, hyperprior)
        tensors = load_file(folder / _MODEL)
        if not foreign:
            _check_origin(folder, config, prior, hyperprior)
        control.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CodecError(f"'{folder}' cannot be used: {reason}") from error
    return control, tensors_digest(tensors)


def _check_origin(folder: Path, config: Mapping[str, Any], prior: Prior, hyperprior: TrainedHyperprior) -> None:
    if config["hyperprior"] != hyperprior.digest.hex():
        raise CodecError(f"'{folder}' was trained for another hyperprior: train stage 2 again for this one")
    if config["prior"] != network_digest(prior.unet):
        raise CodecError(
            f"'{folder}' was trained for another prior than '{prior.name}': train stage 2 with --prior {prior.name}"
        )
