"""The files of a diffusion model: where they are, and whether they are all there and safe to read."""

import re
from pathlib import Path
from typing import Any

from rdcodecs import reading
from rdcodecs.codec import MissingDependencyError
from rdcodecs.optional import require
from rdcodecs.prior.errors import PriorError
from rdcodecs.shipped import SHIPPED, TINY, shipped_or_folder

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = {
    "vae": "diffusion_pytorch_model",
    "unet": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""Part → the stem of its weight files, as diffusers and transformers name them."""
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_VARIANT = "fp16"
_NEEDED = {
    "vae": ("config.json",),
    "unet": ("config.json",),
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json",),
    "tokenizer": (),
}
"""Part → the files it must have beside its weights. The last two parts are there together or not at all."""
_REQUIRED = ("vae", "unet", "scheduler")


def locate(name_or_path: str | Path) -> Path:
    """Return the local folder of a model, downloaded first where it is a hub id.

    Args:
        name_or_path: ``tiny`` (shipped), a folder in diffusers' layout, or a hub id such as ``owner/name``.

    Raises:
        PriorError: it is neither, or it is a single-file checkpoint.
        MissingDependencyError: the shipped weights, or the network to download others, are missing.
    """
    name = str(name_or_path)
    if name in SHIPPED:
        return _shipped(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise PriorError(
            f"'{path}' is a file: give a folder in diffusers' layout (vae/, unet/, scheduler/); "
            "single-file checkpoints are not read"
        )
    if _HUB_ID.fullmatch(name):
        return _download(name)
    raise PriorError(f"no diffusion model '{name}': give '{TINY}', a folder, or a hub id like owner/name")


def check_layout(folder: Path) -> tuple[str, ...]:
    """Check that every file that loading will read is there and is safe, and return the parts present.

    Raises:
        MissingDependencyError: a file is missing; the message names it.
        PriorError: the weights are there as a pickle only, or only one of text encoder and tokenizer is there.
    """
    parts: tuple[str, ...] = _REQUIRED
    text = [part for part in ("text_encoder", "tokenizer") if (folder / part).is_dir()]
    if len(text) == 1:
        other = "tokenizer" if text[0] == "text_encoder" else "text_encoder"
        raise PriorError(f"'{folder}' has {text[0]}/ but no {other}/: both are needed to embed text, or neither")
    parts += tuple(text)
    for part in parts:
        check_part(folder, part)
    return parts


def check_part(folder: Path, part: str) -> None:
    """Check that one part's files are there and safe; errors as for `check_layout`."""
    for file in _NEEDED[part]:
        if not (folder / part / file).is_file():
            raise MissingDependencyError(f"'{folder}' lacks {part}/{file}: it is not a whole diffusers folder")
    if part in _WEIGHTS:
        weights_variant(folder, part)


def weights_variant(folder: Path, part: str) -> str | None:
    """Return the variant ("fp16", or `None` for plain) in which a part's safetensors weights are stored.

    Raises:
        MissingDependencyError: there are no weights, or a shard of them is missing.
        PriorError: the only weights are pickles.
    """
    stem = _WEIGHTS[part]
    for variant in (None, _VARIANT):
        infix = f".{variant}" if variant else ""
        if (folder / part / f"{stem}{infix}.safetensors").is_file():
            return variant
        for index in (f"{stem}.safetensors.index{infix}.json", f"{stem}{infix}.safetensors.index.json"):
            if (folder / part / index).is_file():
                _check_shards(folder / part, index)
                return variant
    pickles = sorted(path.name for path in (folder / part).iterdir() if path.suffix in _PICKLES)
    wanted = f"{part}/{stem}.safetensors"
    if pickles:
        raise PriorError(
            f"'{folder}' has {part}/{pickles[0]} but no {wanted}: pickles can run code and are refused; "
            "convert it to safetensors"
        )
    raise MissingDependencyError(f"'{folder}' lacks {wanted}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        PriorError: the file is damaged.
    """
    return reading.read_json(path, PriorError)


def _check_shards(folder: Path, index: str) -> None:
    names = read_json(folder / index).get("weight_map", {})
    if not isinstance(names, dict):
        raise PriorError(f"'{folder / index}' has no table of files for its weights")
    for name in sorted(set(map(str, names.values()))):
        if Path(name).name != name or "\\" in name:
            raise PriorError(f"'{folder / index}' names '{name}', which is no file beside it")
        if not name.endswith(".safetensors"):
            raise PriorError(f"'{folder / index}' names '{name}', which is not a safetensors file")
        if not (folder / name).is_file():
            raise MissingDependencyError(f"'{folder.parent}' lacks {folder.name}/{name}, which {index} names")


def _shipped(name: str) -> Path:
    folder = shipped_or_folder(name)
    if not (folder / "unet").is_dir():
        raise MissingDependencyError(
            f"the '{name}' diffusion model is not among the weights in '{folder}': train one with "
            "'rdbench train prior', or name a diffusers folder or a hub id"
        )
    return folder


def _download(name: str) -> Path:
    hub = require("huggingface_hub")
    patterns = ["*/config.json", "scheduler/*.json", "tokenizer/*"]
    for part, stem in _WEIGHTS.items():
        patterns += [f"{part}/{stem}.safetensors", f"{part}/{stem}-*.safetensors", f"{part}/*.index.json"]
    try:
        return Path(hub.snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises many kinds, from several libraries
        reason = " ".join(str(error).split())[:200]
        raise MissingDependencyError(
            f"the model '{name}' is neither a folder here nor to be had from the hub: {reason}"
        ) from error
