"""Load a diffusion model from a folder in diffusers' layout, from the hub, or the shipped one."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from rdcodecs.optional import diffusers, require
from rdcodecs.prior.autoencoders import KINDS
from rdcodecs.prior.errors import PriorError
from rdcodecs.prior.folder import check_layout, check_part, locate, read_json, weights_variant
from rdcodecs.prior.model import Prior
from rdcodecs.prior.text import TextEncoder
from rdcodecs.reading import check_finite, reason_of, telling_damage
from rdcodecs.settings import MOST_BLOCKS, whole_number
from rdcodecs.shipped import TINY

_LARGEST_NUMBER = 1 << 16
"""In a network's config.json: none of them, channels or samples, is so large."""
_FEW_WEIGHTS = 1 << 20
_CLASSES = {"vae": KINDS, "unet": ("UNet2DConditionModel",)}


def load(
    name_or_path: str | Path = TINY,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> Prior:
    """Load a frozen latent diffusion model.

    Args:
        name_or_path: ``tiny`` (shipped), a folder in diffusers' layout (``vae/``, ``unet/``, ``scheduler/`` and,
            where the model has them, ``text_encoder/`` and ``tokenizer/``; Stable Diffusion 1.5, 2.1-base and
            2.1 among others), or a hub id such as ``owner/name``. Only safetensors weights are read.
        dtype: of weights and latents. Default: float16 on a CUDA device, else float32 (on most CPUs half
            precision is a hundred times slower).
        device: default: a CUDA device where there is one, else the CPU.

    Raises:
        PriorError: not such a model, of a kind that is not supported, or with weights in pickles.
        MissingDependencyError: a package or a file is missing; the message names it.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind = dtype or (torch.float16 if place.type == "cuda" else torch.float32)
    folder = locate(name_or_path)
    parts = check_layout(folder)
    vae = load_network(folder, "vae", kind)
    unet = load_network(folder, "unet", kind)
    text = load_text(folder, kind, place) if "text_encoder" in parts else None
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    return Prior(vae.to(place), unet.to(place), scheduler, text=text, name=str(name_or_path))


def load_network(folder: Path, part: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Load one network of a folder, on the CPU.

    Args:
        folder: in diffusers' layout; the other parts need not be there.
        part: "vae" or "unet".
        dtype: of the weights.

    Raises:
        PriorError: of a kind that is not supported, damaged, or in a pickle.
        MissingDependencyError: a package or a file is missing.
    """
    check_part(folder, part)
    config = read_json(folder / part / "config.json")
    name = config.get("_class_name")
    if name not in _CLASSES[part]:
        raise PriorError(f"'{folder}/{part}' is a {str(name)[:40]}: only {', '.join(_CLASSES[part])} can be used")
    cls = getattr(diffusers(), name)
    variant = weights_variant(folder, part)
    _check_size(cls, config, folder / part)
    network: nn.Module = _from_pretrained(cls, folder / part, variant, torch_dtype=dtype, low_cpu_mem_usage=False)
    check_finite(folder / part, network.state_dict(), PriorError)
    return network


def _check_size(cls: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Check that a part's config.json asks for about as many weights as its files hold, before memory is taken.

    Raises:
        PriorError: it asks for far more, or for what there is not.
    """
    with telling_damage(folder / "config.json", PriorError):
        for name, value in config.items():
            _check_numbers(name, value)
        with torch.device("meta"):
            asked = sum(value.numel() for value in cls.from_config(dict(config)).state_dict().values())
    held = 0
    for path in folder.glob("*.safetensors"):
        with telling_damage(path, PriorError), safe_open(path, framework="pt") as file:
            held += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 - no mapping
    # A few that are missing are named when they are loaded.
    if asked > 2 * held + _FEW_WEIGHTS:
        raise PriorError(
            f"'{folder}' does not belong together: its config.json asks for {asked} weights, its files hold {held}"
        )


def _check_numbers(name: str, value: Any) -> None:
    """Raise `ValueError` where a number of a config.json is so large that its network could not be made."""
    if isinstance(value, list | tuple):
        if len(value) > MOST_BLOCKS:
            raise ValueError(f"{name[:40]} has {len(value)} entries: at most {MOST_BLOCKS} are read")
        for item in value:
            _check_numbers(name, item)
    elif isinstance(value, int) and not isinstance(value, bool):
        whole_number(name[:40], value, -_LARGEST_NUMBER, MOST_BLOCKS if "layers" in name else _LARGEST_NUMBER)


def load_text(folder: Path, dtype: torch.dtype, device: torch.device) -> TextEncoder:
    """Load tokenizer and text encoder of a folder; errors as for `load_network`."""
    transformers = require("transformers")
    transformers.utils.logging.disable_progress_bar()
    tokenizer = _from_pretrained(transformers.CLIPTokenizer, folder / "tokenizer", None, safetensors=False)
    variant = weights_variant(folder, "text_encoder")
    model = _from_pretrained(transformers.CLIPTextModel, folder / "text_encoder", variant, dtype=dtype)
    check_finite(folder / "text_encoder", model.state_dict(), PriorError)
    return TextEncoder(tokenizer, model.to(device))


def _from_pretrained(cls: Any, path: Path, variant: str | None, *, safetensors: bool = True, **options: Any) -> Any:
    try:
        if not safetensors:
            return cls.from_pretrained(str(path), local_files_only=True, **options)
        loaded, info = cls.from_pretrained(
            str(path),
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # damaged files make these libraries raise nearly any type
        raise PriorError(f"'{path}' cannot be loaded: {reason_of(error)}") from error
    # Both libraries only warn of weights that are not there, and leave random values in their place.
    missing = sorted(info["missing_keys"])
    if missing:
        raise PriorError(f"'{path}' lacks {len(missing)} weights that its config.json asks for, e.g. {missing[0]}")
    return loaded
