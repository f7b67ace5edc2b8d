"""Trained parts of the codec, control and enhancer, as folders: `config.json` and `model.safetensors` each."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from rdcodecs.codec import CodecError, MissingDependencyError
from rdcodecs.digests import network_digest, tensors_digest
from rdcodecs.fusion.config import FusionConfig, fusion_sites
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.enhancer import Enhancer, EnhancerConfig
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.prior import Prior
from rdcodecs.reading import check_tensors, read_json, read_tensors, reason_of
from rdcodecs.tensor_file import save_tensors

_CONFIG, _MODEL = "config.json", "model.safetensors"
_FORMAT = 1
ENHANCER = "enhancer"
"""Folder of the enhancer, beside those of the controls."""

_N = TypeVar("_N", bound=nn.Module)


def make_control(config: FusionConfig, prior: Prior, hyperprior: TrainedHyperprior) -> Control:
    """Return an untrained control that fits a prior and a hyperprior."""
    shape = hyperprior.config
    sites = fusion_sites(prior.sites)
    return Control(config, sites, shape.latent_channels, shape.levels, prior.stride, prior.channels)


def save_control(folder: Path, control: Control, prior: Prior, hyperprior: TrainedHyperprior) -> None:
    """Write a trained control in fp16, with what it was trained for."""
    origin = {"prior": network_digest(prior.unet), "hyperprior": hyperprior.digest.hex()}
    _save(folder, control, origin, dataclasses.asdict(control.config))


def save_enhancer(folder: Path, enhancer: Enhancer, prior: Prior, hyperprior: TrainedHyperprior) -> None:
    """Write a trained enhancer in fp16, with what it was trained for."""
    origin = {"autoencoder": network_digest(prior.vae), "hyperprior": hyperprior.digest.hex()}
    _save(folder, enhancer, origin, dataclasses.asdict(enhancer.config))


def _save(folder: Path, network: nn.Module, origin: Mapping[str, str], shape: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    save_tensors(tensors, folder / _MODEL)
    config = {"format": _FORMAT, **origin, "shape": shape}
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


def has_enhancer(parts: Path) -> bool:
    """Return whether there is an enhancer among the trained parts in a folder."""
    return (parts / ENHANCER / _CONFIG).is_file()


def check_enhancer(parts: Path) -> None:
    """Check that there are the files of an enhancer among the trained parts in a folder.

    Raises:
        MissingDependencyError: one is missing.
    """
    advice = "train it with 'rdbench train fusion --stage 3', or decode with renormalize=local"
    _check_files(parts / ENHANCER, advice)


def load_enhancer(parts: Path, prior: Prior, hyperprior: TrainedHyperprior) -> tuple[Enhancer, str]:
    """Read a trained enhancer, onto the prior's device, in single precision.

    Args:
        parts: folder of the trained parts, of which it is one.
        prior: whose autoencoder it was trained for.
        hyperprior: that it was trained for.

    Returns:
        The enhancer, and the SHA-256 of its weights as hex digits.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, of a newer format, or was trained for another autoencoder or hyperprior.
    """
    check_enhancer(parts)
    folder = parts / ENHANCER
    with _reading(folder):
        config = _config(folder)
        if (config["hyperprior"], config["autoencoder"]) != (hyperprior.digest.hex(), network_digest(prior.vae)):
            raise CodecError(
                f"'{folder}' was trained for another hyperprior or autoencoder: train stage 3 again, or decode with "
                "renormalize=local"
            )
        shape = EnhancerConfig(**config["shape"])
        enhancer, digest = _filled(lambda: make_enhancer(shape, hyperprior.config), folder)
    enhancer.requires_grad_(False).eval()
    enhancer.to(prior.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return enhancer, digest


def make_enhancer(config: EnhancerConfig, hyperprior: HyperpriorConfig) -> Enhancer:
    """Return an untrained enhancer that fits a hyperprior."""
    return Enhancer(config, hyperprior.latent_channels, hyperprior.levels)


def foreign_enhancer(folder: Path, hyperprior: HyperpriorConfig) -> tuple[Enhancer, str]:
    """Read a trained enhancer, whichever hyperprior of this shape it was trained for: what a training begins with.

    Args:
        folder: of it.
        hyperprior: shape of the one that it is for now.

    Returns:
        The enhancer, and the SHA-256 of its weights as hex digits.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, of a newer format, or does not fit.
    """
    _check_files(folder, "name a folder of weights with an enhancer, or none")
    with _reading(folder):
        shape = EnhancerConfig(**_config(folder)["shape"])
        return _filled(lambda: make_enhancer(shape, hyperprior), folder)


def named_autoencoder(folder: Path) -> str:
    """Return the SHA-256 of the autoencoder that an enhancer was trained for; errors as for `foreign_enhancer`."""
    with _reading(folder):
        return str(_config(folder)["autoencoder"])


def trainable_enhancer(folder: Path, shape: EnhancerConfig, hyperprior: HyperpriorConfig) -> Enhancer:
    """Read a trained enhancer to train it further.

    Args:
        folder: of it.
        shape: of the network that is returned: the enhancer's own, or with an entry for latents that it has not,
            which changes nothing before it is trained.
        hyperprior: shape of the one that it is for.

    Raises:
        MissingDependencyError, CodecError: as for `foreign_enhancer`.
        ValueError: the shapes differ in more than that.
    """
    begun, _ = foreign_enhancer(folder, hyperprior)
    has = begun.config
    if shape not in (has, has if has.coarse else dataclasses.replace(has, coarse=shape.coarse)):
        raise ValueError(f"'{folder}' has another shape than the settings: {has}")
    enhancer = make_enhancer(shape, hyperprior)
    enhancer.load_state_dict(enhancer.state_dict() | begun.state_dict())
    return enhancer


def _read(folder: Path, prior: Prior, hyperprior: TrainedHyperprior, *, foreign: bool) -> tuple[Control, str]:
    _check_files(folder, f"train it with 'rdbench train fusion --stage 2 --prior {prior.name}'")
    with _reading(folder):
        config = _config(folder)
        shape = FusionConfig(**config["shape"])
        if not foreign:
            _check_origin(folder, config, prior, hyperprior)
        return _filled(lambda: make_control(shape, prior, hyperprior), folder)


def _check_files(folder: Path, advice: str) -> None:
    for name in (_CONFIG, _MODEL):
        if not (folder / name).is_file():
            raise MissingDependencyError(f"'{folder}' lacks {name}: {advice}")


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Say in one line what is wrong in a folder."""
    try:
        yield
    except CodecError:
        raise
    except Exception as error:  # odd files lead to nearly any type
        raise CodecError(f"'{folder}' cannot be used: {reason_of(error)}") from error


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / _CONFIG)
    if config["format"] != _FORMAT:
        raise ValueError("it is of a format that this version does not read")
    return config


def _filled(make: Callable[[], _N], folder: Path) -> tuple[_N, str]:
    """Return the network that `make` returns with the weights of a folder, and the SHA-256 of these."""
    tensors = read_tensors(folder / _MODEL)
    with torch.device("meta"):
        shaped = make()
    check_tensors(folder / _MODEL, tensors, shaped.state_dict())
    network = make()
    network.load_state_dict({name: value.float() for name, value in tensors.items()})
    return network, tensors_digest(tensors)


def _check_origin(folder: Path, config: Mapping[str, Any], prior: Prior, hyperprior: TrainedHyperprior) -> None:
    if config["hyperprior"] != hyperprior.digest.hex():
        raise CodecError(f"'{folder}' was trained for another hyperprior: train stage 2 again for this one")
    if config["prior"] != network_digest(prior.unet):
        raise CodecError(
            f"'{folder}' was trained for another prior than '{prior.name}': name the one it was trained for, or train "
            f"stage 2 with --prior {prior.name}"
        )
