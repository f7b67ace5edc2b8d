"""Small PerCo models: one trained a little, and a folder in the layout of the public checkpoints."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from rdtrain.core.data import read_crops
from rdtrain.core.loop import Budget, Outcome
from rdtrain.core.recipe import Training
from rdtrain.perco.recipe import PerCoRecipe
from rdtrain.perco.settings import PRESETS
from rdtrain.perco.task import PerCoTask
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.export import export_autoencoder, export_unet
from rdtrain.prior.settings import PRESETS as PRIOR_PRESETS
from rdtrain.prior.trajectory import PictureSettings
from rdtrain.prior.unet import make_unet, scheduler_config
from small_models import write_model
from small_training import l2_distance, make_run, smooth_images

PRIOR = PRIOR_PRESETS["micro"]


def write_start(folder: Path) -> Path:
    """Write a diffusion model to begin from: of the architecture of the tiny one, and quicker than `small_prior`."""
    torch.manual_seed(7)
    export_autoencoder(make_autoencoder(PRIOR.autoencoder), folder)
    export_unet(make_unet(PRIOR.unet), scheduler_config(PRIOR.unet), folder)
    return folder


def perco_training(
    out: Path, prior: Path, perceptual: Any = None, start: Path | None = None, **changes: Any
) -> Training[PerCoTask]:
    """A training from a prior; `changes` are settings, or what `make_run` takes."""
    names = {item.name for item in dataclasses.fields(PRESETS["micro"])}
    settings = {name: changes.pop(name) for name in names & changes.keys()}
    config = dataclasses.replace(PRESETS["micro"], held_out=0.2, **settings)
    crops = read_crops(smooth_images(12), side=config.store, per_image=1, held_out=config.held_out)
    return Training(PerCoRecipe(config, crops, str(prior), perceptual, start), make_run(out, **changes))


def train_perco(out: Path, prior: Path) -> Path:
    """Train a model a little; return its folder, in our own layout."""
    training = perco_training(out, prior, l2_distance, pictures=PictureSettings(weight=0.1, images=1))
    assert training.train(Budget(steps=12)) is Outcome.FINISHED
    return out / "model"


def hyper_encoder_shapes(n: int, m: int, dim: int, size: int, grid: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a public checkpoint's hyper-encoder, from its documentation alone."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, channels: int, width: int, kernel: int) -> None:
        shapes[f"{name}.weight"] = (width, channels, kernel, kernel)
        shapes[f"{name}.bias"] = (width,)

    def narrow(name: str, width: int) -> None:
        conv(f"{name}.0", width, width // 2, 1)
        conv(f"{name}.2", width // 2, width // 2, 3)
        conv(f"{name}.4", width // 2, width, 1)

    conv("backbone.0", 4, n, 5 if grid < 16 else 1)
    conv("backbone.4", n, n, 5 if grid < 32 else 1)
    conv("backbone.9", n, n, 5 if grid < 64 else 1)
    conv("backbone.13", n, m, 1)
    for index in (1, 2, 3, 5, 6, 7, 10, 11, 12):
        narrow(f"backbone.{index}.layers", n)
    for index, width in ((8, n), (14, m)):
        for branch in ("conv_a", "conv_b"):
            for unit in range(3):
                narrow(f"backbone.{index}.{branch}.{unit}.conv", width)
        conv(f"backbone.{index}.conv_b.3", width, width, 1)
    shapes |= {
        "quantizer.project_in.weight": (dim, m),
        "quantizer.project_in.bias": (dim,),
        "quantizer.project_out.weight": (m, dim),
        "quantizer.project_out.bias": (m,),
        "quantizer._codebook.initted": (1,),
        "quantizer._codebook.cluster_size": (1, size),
        "quantizer._codebook.embed_avg": (1, size, dim),
        "quantizer._codebook.embed": (1, size, dim),
    }
    return shapes


def write_public(folder: Path, grid: int, size: int, *, n: int = 8, m: int = 12, dim: int = 4) -> Path:
    """A checkpoint in the layout of PerCo (SD), with random weights, small but for its names."""
    write_model(folder, prediction_type="v_prediction")
    generator = torch.Generator().manual_seed(grid)

    def random(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    (folder / "hyper_enc").mkdir()
    config = {"_class_name": "HyperEncoder", "_diffusers_version": "0.27.0", "in_channels": 4}
    config |= {"N": n, "M": m, "codebook_dim": dim, "cfg_ss": grid, "cfg_cs": size}
    (folder / "hyper_enc" / "config.json").write_text(json.dumps(config))
    shapes = hyper_encoder_shapes(n, m, dim, size, grid)
    tensors = {name: random(shape) for name, shape in shapes.items()}
    tensors["quantizer._codebook.embed"] = torch.nn.functional.normalize(tensors["quantizer._codebook.embed"], dim=-1)
    save_file(tensors, folder / "hyper_enc" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    unet = load_file(path)
    width = unet["conv_in.weight"].shape[0]
    unet |= {"conv_in_extended.weight": random((width, 4 + m, 3, 3)), "conv_in_extended.bias": random((width,))}
    save_file(unet, path, metadata={"format": "pt"})
    values = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps({**values, "zl_channels": m}))
    return folder
