"""A trained PerCo as a folder: the public layout of one rate point, or ours of several.

======================== ==========================================================================================
part                     content
======================== ==========================================================================================
unet/                    the fine-tuned U-Net with `conv_in` and `conv_in_extended`
hyper_enc/               the hyper-encoder of the one rate point, or level-0/, level-1/ ... from low to high rate
indices.safetensors      ours only: what was learnt of the indices, in integers
perco.json               ours only: which autoencoder it was trained for
vae/, scheduler/,        as diffusers has them; what is not there is taken from the folder above. So the parts of a
text_encoder/,           training's ``checkpoint-N/{unet,hyper_enc}`` are found, and the model of ``rdbench train
tokenizer/               perco`` lies in a folder ``perco/`` beside the autoencoder it shares with its prior
======================== ==========================================================================================
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor, nn

from rdcodecs.codec import CodecError, MissingDependencyError
from rdcodecs.perco.config import HyperEncoderConfig
from rdcodecs.perco.hyper_encoder import HyperEncoder
from rdcodecs.perco.index_coder import IndexCoder
from rdcodecs.perco.index_models import LearnedModel
from rdcodecs.perco.unet import EXTENDED, extend_input
from rdcodecs.prior import Prior, PriorError
from rdcodecs.prior.autoencoders import latent_space_digest, names_latents
from rdcodecs.prior.folder import check_part, locate, read_json
from rdcodecs.prior.load import load_network, load_text
from rdcodecs.reading import check_tensors, read_tensors, telling_damage
from rdcodecs.tensor_file import save_tensors

FOLDER = "perco"
"""A trained PerCo, in a folder of weights."""

_UNET, _HYPER_ENCODER = "unet", "hyper_enc"
_WEIGHTS, _CONFIG = "diffusion_pytorch_model.safetensors", "config.json"
_INDICES, _RECORD = "indices.safetensors", "perco.json"
_FORMAT = 1
_MOST_LEVELS = 16

IndexTables = tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]
"""The bias and the contexts of a `LearnedModel`."""


@dataclass(frozen=True)
class RatePoint:
    """One rate point of a model.

    Attributes:
        encoder: its hyper-encoder, in float32.
        coder: of its indices.
    """

    encoder: HyperEncoder
    coder: IndexCoder


@dataclass(frozen=True)
class TrainedPerCo:
    """A trained model, frozen.

    Attributes:
        prior: autoencoder, fine-tuned U-Net, noise schedule and, where there is one, the text encoder.
        points: the rate points, from low to high rate.
        digest: SHA-256 of what decides a stream and what it decodes to.
    """

    prior: Prior
    points: tuple[RatePoint, ...]
    digest: bytes


def load_perco(model: Path, *, prior: str = "", device: torch.device | str = "cpu") -> TrainedPerCo:
    """Read a trained model.

    Args:
        model: folder in one of the layouts above, or one that holds it as ``perco/``.
        prior: folder or hub id of the diffusion model that has what `model` lacks; "" is the folder above.
        device: where to; a CUDA device gets the U-Net and the autoencoder in half precision.

    Raises:
        MissingDependencyError: a part, a file or a package is missing.
        CodecError: a part is damaged, a pickle, or does not belong to the others.
    """
    root = _root(model)
    place = torch.device(device)
    dtype = torch.float16 if place.type == "cuda" else torch.float32
    places = (root, locate(prior) if prior else root.parent)
    encoders, digest = _load_encoders(root)
    unet = _load_unet(root, encoders[0].config, dtype, digest)
    vae = load_network(_home("vae", places), "vae", dtype)
    _check_origin(root, vae)
    scheduler_home = _home("scheduler", places)
    check_part(scheduler_home, "scheduler")
    scheduler = read_json(scheduler_home / "scheduler" / "scheduler_config.json")
    text_home = next((each for each in places if (each / "text_encoder").is_dir()), None)
    if text_home is not None:
        check_part(text_home, "tokenizer")
        check_part(text_home, "text_encoder")
    text = None if text_home is None else load_text(text_home, dtype, place)
    tables = _load_tables(root, encoders, digest)
    for encoder in encoders:
        encoder.requires_grad_(False).eval().to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    points = tuple(
        RatePoint(encoder, IndexCoder(encoder.config.codebook_size, table and partial(LearnedModel, *table)))
        for encoder, table in zip(encoders, tables, strict=True)
    )
    whole = Prior(vae.to(place), unet.to(place), scheduler, text=text, name=str(model))
    if encoders[0].config.in_channels != whole.channels:
        raise PriorError(
            f"the hyper-encoder of '{root}' takes {encoders[0].config.in_channels} channels and the autoencoder's "
            f"latent has {whole.channels}: they do not belong together"
        )
    return TrainedPerCo(whole, points, digest.digest())


def load_networks(model: Path) -> tuple[nn.Module, list[HyperEncoder]]:
    """Read a trained model's U-Net, with its extended input, and its hyper-encoders, to train them further.

    Args:
        model: folder in one of the layouts above, or one that holds it as ``perco/``.

    Raises:
        MissingDependencyError: a part, a file or a package is missing.
        CodecError: a part is damaged, a pickle, or does not belong to the others.
    """
    root = _root(model)
    encoders, digest = _load_encoders(root)
    return _load_unet(root, encoders[0].config, torch.float32, digest), encoders


def save_perco(
    folder: Path, unet: nn.Module, encoders: Sequence[HyperEncoder], tables: Sequence[IndexTables], vae: nn.Module
) -> None:
    """Write a trained model in fp16, all but the parts that it shares with its prior.

    Args:
        folder: made where it is not there.
        unet: fine-tuned, with its extended input.
        encoders: one per rate point, from low to high rate.
        tables: of their indices.
        vae: the autoencoder that it was trained for; another decoder of the same latents may take its place.
    """
    _save_part(folder / _UNET, unet)
    facts = json.loads(unet.to_json_string())  # type: ignore[operator]
    facts.pop("_name_or_path", None)  # where it was loaded from stays on this machine
    (folder / _UNET / _CONFIG).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for level, encoder in enumerate(encoders):
        place = folder / _HYPER_ENCODER / f"level-{level}"
        _save_part(place, encoder)
        config = {"_class_name": "HyperEncoder", **encoder.config.to_public()}
        (place / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    arrays = {}
    for level, (bias, contexts) in enumerate(tables):
        arrays[f"{level}.bias"] = torch.from_numpy(bias.copy())
        arrays[f"{level}.contexts"] = torch.from_numpy(contexts.copy())
    save_tensors(arrays, folder / _INDICES)
    record = {"format": _FORMAT, "vae": latent_space_digest(vae)}
    (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _save_part(folder: Path, network: nn.Module) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    save_tensors(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _root(model: Path) -> Path:
    for folder in (model, model / FOLDER):
        if (folder / _HYPER_ENCODER).is_dir():
            return folder
    raise MissingDependencyError(
        f"'{model}' has no {_HYPER_ENCODER}/: it is not a PerCo model; train one with 'rdbench train perco'"
    )


def _home(part: str, places: Sequence[Path]) -> Path:
    for folder in places:
        if (folder / part).is_dir():
            return folder
    raise MissingDependencyError(
        f"'{places[0]}' has no {part}/, nor has '{places[1]}': name the diffusion model it was trained from "
        "with the option 'prior'"
    )


def _load_encoders(root: Path) -> tuple[list[HyperEncoder], Any]:
    """Return the hyper-encoders from low to high rate, and a digest that has taken them in."""
    digest = hashlib.sha256()
    folder = root / _HYPER_ENCODER
    levels = [folder / f"level-{level}" for level in range(_MOST_LEVELS)]
    found = [level for level in levels if level.is_dir()] or [folder]
    if found != levels[: len(found)] and found != [folder]:
        raise CodecError(f"'{folder}' has {found[-1].name} but not all levels below it")
    encoders = [_load_encoder(place, digest) for place in found]
    if len({(encoder.config.in_channels, encoder.config.features) for encoder in encoders}) > 1:
        raise CodecError(f"the levels of '{folder}' do not belong to one U-Net: their channels differ")
    return encoders, digest


def _load_encoder(folder: Path, digest: Any) -> HyperEncoder:
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            pickles = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
            if name == _WEIGHTS and pickles:
                raise PriorError(
                    f"'{folder}' has {pickles[0]} but no {_WEIGHTS}: pickles can run code and are refused; "
                    "convert it to safetensors"
                )
            raise MissingDependencyError(f"'{folder}' lacks {name}: it is not a whole hyper-encoder")
    values = read_json(folder / _CONFIG)
    with telling_damage(folder / _CONFIG):
        config = HyperEncoderConfig.from_public(values)
    with torch.device("meta"):
        encoder = HyperEncoder(config)
    tensors = read_tensors(folder / _WEIGHTS)
    check_tensors(folder / _WEIGHTS, tensors, encoder.state_dict())
    encoder.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    _add(digest, {**tensors, "grid": torch.tensor(config.grid)})
    return encoder


def _load_unet(root: Path, encoder: HyperEncoderConfig, dtype: torch.dtype, digest: Any) -> nn.Module:
    # diffusers leaves aside the weights that its own class does not have.
    unet: Any = load_network(root, _UNET, dtype)
    wanted = f"{EXTENDED}.weight", f"{EXTENDED}.bias"
    tensors: dict[str, Tensor] = {}
    for path in sorted((root / _UNET).glob("*.safetensors")):
        with telling_damage(path), safe_open(path, framework="pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys() if name in wanted}  # noqa: SIM118 - no dict
    extended = extend_input(unet, encoder.features)
    own = {f"{EXTENDED}.{name}": value for name, value in extended.state_dict().items()}
    check_tensors(root / _UNET, tensors, own)
    extended.load_state_dict({name.rpartition(".")[2]: value for name, value in tensors.items()})
    # A stand-in for the whole U-Net, which may have gigabytes: no two trainings end with the same.
    _add(digest, tensors)
    return unet  # type: ignore[no-any-return]


def _load_tables(root: Path, encoders: Sequence[HyperEncoder], digest: Any) -> list[IndexTables | None]:
    path = root / _INDICES
    if not path.is_file():
        return [None] * len(encoders)
    tables: list[IndexTables | None] = []
    arrays = read_tensors(path)
    with telling_damage(path):
        for level, encoder in enumerate(encoders):
            bias, contexts = (arrays[f"{level}.{name}"].numpy() for name in ("bias", "contexts"))
            if LearnedModel(bias, contexts).size != encoder.config.codebook_size:
                raise ValueError(f"level {level} is of another codebook")
            tables.append((bias, contexts))
    _add(digest, arrays)
    return tables


def _check_origin(root: Path, vae: nn.Module) -> None:
    path = root / _RECORD
    if not path.is_file():  # the public checkpoints have no such file
        return
    record = read_json(path)
    if record.get("format") != _FORMAT:
        raise CodecError(f"'{path}' is of a format that this version does not read")
    if not names_latents(str(record.get("vae")), vae):
        raise CodecError(
            f"'{root}' was trained for the latents of another autoencoder: train it again with 'rdbench train perco'"
        )


def _add(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
