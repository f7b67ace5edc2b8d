"""A trained hyperprior as a folder: `config.json` and `model.safetensors`."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rdcodecs.codec import CodecError, MissingDependencyError
from rdcodecs.entropy import FrequencyTables
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.fixed_point import (
    ExactContext,
    ExactHyperSynthesis,
    fill_from_integers,
    quantise,
    stored_name,
)
from rdcodecs.hyperprior.latent_coder import LatentCoder, tables_from
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.packing import load_packed, save_packed
from rdcodecs.reading import check_finite, check_tensors, read_json, telling_damage

_CONFIG, _MODEL = "config.json", "model.safetensors"
_SKETCH_PRIOR = "sketch_prior"
_FORMATS = (1, 2)
"""Of a folder; the first has plain tensors, the second packed ones."""
_NETWORK, _HYPER, _LATENT = "network", "hyper_tables", "latent_tables"
_EXACT, _EXACT_CONTEXT = "exact", "exact_context"
# Training only, and replaced by integers: hyper-synthesis and context by their fixed-point forms, the prior by tables.
_LEFT_OUT = ("hyper_synthesis.", "context.", "prior.")
_SKETCH = "sketch."


@dataclass(frozen=True)
class TrainedHyperprior:
    """A trained model, frozen.

    Attributes:
        network: the transforms; its floating-point hyper-synthesis, context and prior are not trained and not to
            be used.
        coder: of latents.
        digest: SHA-256 of all that decides a stream and what it decodes to.
        folder: that it was read from.
        sketch_prior: digest of the latent space that its sketches lie in; empty where it draws none.
    """

    network: Hyperprior
    coder: LatentCoder
    digest: bytes
    folder: Path
    sketch_prior: str = ""

    @property
    def config(self) -> HyperpriorConfig:
        """Shape of the model."""
        return self.network.config

    @torch.no_grad()
    def decoded_latents(self, images: Tensor, levels: Tensor) -> Tensor:
        """Return the latents that a decoder will have of images, gain undone, without coding them.

        Args:
            images: shape (N, 3, H, W) in [-1, 1].
            levels: of the rate, shape (N,).

        Returns:
            Shape (N, M, ceil(H / 16), ceil(W / 16)).
        """
        made, hyper = (tensor.cpu().numpy() for tensor in self.network.encode(images, levels))
        decoded = [self.coder.rounded(*item) for item in zip(made, hyper, levels.tolist(), strict=True)]
        stacked = torch.stack([torch.from_numpy(item) for item in decoded])
        return self.network.restore(stacked.to(images.device), levels)

    @cached_property
    def device(self) -> torch.device:
        """Where the transforms are."""
        return next(self.network.parameters()).device


def save_hyperprior(
    folder: Path,
    network: Hyperprior,
    hyper_tables: FrequencyTables,
    latent_tables: FrequencyTables,
    *,
    sketch_prior: str = "",
) -> None:
    """Write a trained model: transforms in fp16, all that entropy coding rests on as integers; packed.

    Args:
        folder: made where it is not there.
        network: trained.
        hyper_tables: one for each level and channel.
        latent_tables: one for each entry of the scale table.
        sketch_prior: see `TrainedHyperprior`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if not name.startswith(_LEFT_OUT):
            tensors[f"{_NETWORK}.{name}"] = value.detach().cpu().half().contiguous()
    for prefix, part in ((_EXACT, network.hyper_synthesis), (_EXACT_CONTEXT, network.context)):
        if part is not None:
            tensors |= {f"{prefix}.{name}": value.contiguous() for name, value in quantise(part).items()}
    for prefix, tables in ((_HYPER, hyper_tables), (_LATENT, latent_tables)):
        for name, array in tables.to_arrays().items():
            tensors[f"{prefix}.{name}"] = torch.from_numpy(array.copy())
    save_packed(tensors, folder / _MODEL)
    config = {"format": _FORMATS[-1], **network.config.as_dict()}
    if sketch_prior:
        config[_SKETCH_PRIOR] = sketch_prior
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_hyperprior(folder: Path, device: torch.device | str = "cpu") -> TrainedHyperprior:
    """Read a trained model.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, or of a newer format.
    """
    config, sketch_prior, tensors = _read(folder)
    with telling_damage(folder / _MODEL):
        network = Hyperprior(config)
        _fill(network, _part(tensors, _NETWORK))
        context = ExactContext(_part(tensors, _EXACT_CONTEXT)) if config.context_width else None
        synthesis = ExactHyperSynthesis(_part(tensors, _EXACT))
        coder = LatentCoder(config, synthesis, _tables(tensors, _HYPER), _tables(tensors, _LATENT), context)
    network.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TrainedHyperprior(network, coder, _digest(tensors, config, sketch_prior), folder, sketch_prior)


def trainable_hyperprior(folder: Path, shape: HyperpriorConfig) -> Hyperprior:
    """Read a trained model to train it further: what ships as integers as near as they tell it.

    Args:
        folder: of the model.
        shape: of the network that is returned. Against the model's own it may lack the sketch decoder, have one that is
            untrained, and have further blocks of it, or a context, which change nothing before they are trained; and
            it may round otherwise.

    Raises:
        MissingDependencyError, CodecError: as for `load_hyperprior`.
        ValueError: the shapes differ in more than that.
    """
    config, _, tensors = _read(folder)
    if not _grows_into(config, shape):
        raise ValueError(f"'{folder}' has another shape than the settings: {config}")
    with telling_damage(folder / _MODEL):
        network = Hyperprior(shape)
        stored = _part(tensors, _NETWORK)
        if not shape.sketch_channels:
            stored = {name: value for name, value in stored.items() if not name.startswith(_SKETCH)}
        known = Hyperprior(config).state_dict()
        added = {name: value for name, value in network.state_dict().items() if name not in known}
        if config.sketch_channels:
            # The blocks that are added end in these: with zeros there they pass on what comes in.
            added = {name: torch.zeros_like(value) if ".second." in name else value for name, value in added.items()}
        _fill(network, stored | {name: value for name, value in added.items() if not name.startswith(_LEFT_OUT)})
        fill_from_integers(network.hyper_synthesis, _part(tensors, _EXACT))
        if network.context is not None and config.context_width:
            fill_from_integers(network.context, _part(tensors, _EXACT_CONTEXT))
        network.prior.fit(_tables(tensors, _HYPER))
    return network


def _grows_into(config: HyperpriorConfig, shape: HyperpriorConfig) -> bool:
    """Return whether the shapes differ in nothing but what `trainable_hyperprior` adds or leaves out."""
    grown: dict[str, Any] = {"rounding_offset": shape.rounding_offset}
    if not (config.sketch_channels and shape.sketch_channels):
        grown |= {name: getattr(shape, name) for name in ("sketch_channels", "sketch_stride", "sketch_blocks")}
    elif config.sketch_blocks < shape.sketch_blocks:
        grown["sketch_blocks"] = shape.sketch_blocks
    if not config.context_width:
        grown["context_width"] = shape.context_width
    return dataclasses.replace(config, **grown) == shape


def read_hyperprior_config(folder: Path) -> HyperpriorConfig:
    """Read a model's shape alone; errors as for `load_hyperprior`."""
    return _read_config(folder)[0]


def _read_config(folder: Path) -> tuple[HyperpriorConfig, str]:
    path = folder / _CONFIG
    if not path.is_file():
        raise MissingDependencyError(f"'{folder}' lacks {_CONFIG}: it is not a trained hyperprior")
    values = read_json(path)
    with telling_damage(path):
        if values.pop("format") not in _FORMATS:
            raise ValueError("it is of a format that this version does not read")
        sketch_prior = str(values.pop(_SKETCH_PRIOR, ""))
        return HyperpriorConfig(**values | {"widths": tuple(values["widths"])}), sketch_prior


def _read(folder: Path) -> tuple[HyperpriorConfig, str, dict[str, Tensor]]:
    config, sketch_prior = _read_config(folder)
    path = folder / _MODEL
    if not path.is_file():
        raise MissingDependencyError(f"'{folder}' lacks {_MODEL}: it is not a trained hyperprior")
    with telling_damage(path):
        tensors = load_packed(path)
        _check_shapes(path, config, tensors)
    return config, sketch_prior, tensors


def _check_shapes(path: Path, config: HyperpriorConfig, tensors: Mapping[str, Tensor]) -> None:
    """Check all weights against the shape that the configuration asks for, before a network of it is made."""
    with torch.device("meta"):
        network = Hyperprior(config)
    check_finite(path, tensors)
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(_LEFT_OUT)}
    check_tensors(path, _part(tensors, _NETWORK), own)
    for prefix, part in ((_EXACT, network.hyper_synthesis), (_EXACT_CONTEXT, network.context)):
        if part is not None:
            found = _part(tensors, prefix)
            check_tensors(path, found, {stored_name(name): value for name, value in part.state_dict().items()})
            if any(value.is_floating_point() for value in found.values()):
                raise ValueError(f"{prefix} must be whole numbers")


def _tables(tensors: Mapping[str, Tensor], prefix: str) -> FrequencyTables:
    try:
        arrays = {name: value.numpy() for name, value in tensors.items() if value.dtype == torch.int32}
        return tables_from(arrays, prefix)
    except CodecError as error:  # it does not know of which file
        raise ValueError(str(error)) from error


def _fill(network: Hyperprior, tensors: Mapping[str, Tensor]) -> None:
    wanted = {name for name in network.state_dict() if not name.startswith(_LEFT_OUT)}
    if wanted != set(tensors):
        raise KeyError(f"weights {', '.join(sorted(wanted ^ set(tensors))[:3])} are missing or unknown")
    network.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def _digest(tensors: Mapping[str, Tensor], config: HyperpriorConfig, sketch_prior: str) -> bytes:
    digest = hashlib.sha256(json.dumps(config.as_dict(), sort_keys=True).encode() + sketch_prior.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.digest()
