"""Small weights of the learned codecs, trained for a few steps: real ones, but for their use."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from rdcodecs.fusion.config import Kind
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.prior import load
from rdcodecs.tensor_file import save_tensors
from rdtrain.core.data import read_crops
from rdtrain.core.loop import Budget, Outcome
from rdtrain.core.recipe import Training
from rdtrain.fusion.control import FusionTask
from rdtrain.fusion.enhancer import EnhancerTask
from rdtrain.fusion.frozen_codec import FrozenCodec
from rdtrain.fusion.recipes import EnhancerRecipe, FusionRecipe, read_controls
from rdtrain.fusion.settings import CONTROL_PRESETS, ENHANCER_PRESETS
from rdtrain.hyperprior.recipe import HyperpriorRecipe
from rdtrain.hyperprior.settings import PRESETS as HYPERPRIOR_PRESETS
from rdtrain.hyperprior.task import HyperpriorTask
from small_training import l2_distance, make_run, smooth_images

HYPERPRIOR = HYPERPRIOR_PRESETS["micro"]


def hyperprior_training(
    out: Path,
    *,
    seed: int = 0,
    start: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    prior: Path | None = None,
    **run: Any,
) -> Training[HyperpriorTask]:
    """A training with `settings` of its own; with a prior it trains sketches for it, `l2_distance` apart."""
    config = dataclasses.replace(HYPERPRIOR, **{"seed": seed, "held_out": 0.2} | dict(settings or {}))
    frozen = None
    if prior is not None:
        frozen = load(prior, dtype=torch.float32)
        shape = dataclasses.replace(config.model, sketch_channels=frozen.channels, sketch_stride=frozen.stride)
        config = dataclasses.replace(config, model=shape)
    crops = read_crops(smooth_images(12), side=config.store, per_image=1, held_out=config.held_out)
    return Training(HyperpriorRecipe(config, crops, frozen, l2_distance, start=start), make_run(out, **run))


def frozen_codec(weights: Path, prior: Path) -> FrozenCodec:
    """What stages 2 and 3 find."""
    return FrozenCodec(load_hyperprior(weights / "hyperprior"), load(prior, dtype=torch.float32))


def fusion_training(
    out: Path,
    weights: Path,
    prior: Path,
    kind: Kind = "attentive",
    settings: Mapping[str, Any] | None = None,
    start: Path | None = None,
    **run: Any,
) -> Training[FusionTask]:
    """A training with `settings` of its own, and `l2_distance` as perceptual distance."""
    micro = CONTROL_PRESETS["micro"]
    shaped = {"shape": dataclasses.replace(micro.shape, kind=kind), "held_out": 0.2}
    config = dataclasses.replace(micro, **shaped | dict(settings or {}))  # type: ignore[arg-type]
    crops = read_crops(smooth_images(12), side=config.store, per_image=1, held_out=config.held_out)
    recipe = FusionRecipe(config, crops, frozen_codec(weights, prior), l2_distance, start=start)
    return Training(recipe, make_run(out, **run))


def enhancer_training(
    out: Path, weights: Path, prior: Path, settings: Mapping[str, Any] | None = None, **changes: Any
) -> Training[EnhancerTask]:
    """A training with `settings` of its own, and `l2_distance` as perceptual distance."""
    config = dataclasses.replace(ENHANCER_PRESETS["micro"], **{"held_out": 0.2} | dict(settings or {}))
    crops = read_crops(smooth_images(12), side=config.store, per_image=1, held_out=config.held_out)
    codec = frozen_codec(weights, prior)
    own = {name: changes.pop(name) for name in ("start", "perceptual") if name in changes}
    recipe = EnhancerRecipe(
        config, crops, codec, weights, read_controls(weights, codec), **{"perceptual": l2_distance, **own}
    )
    return Training(recipe, make_run(out, **changes))


def train_weights(out: Path, prior: Path) -> Path:
    """Train all stages and both kinds of fusion; return the folder that the codecs take as `weights`."""
    assert hyperprior_training(out).train(Budget(steps=20)) is Outcome.FINISHED
    weights = out / "model"
    for kind in ("attentive", "additive"):
        training = fusion_training(out / kind, weights, prior, kind)  # type: ignore[arg-type]
        assert training.train(Budget(steps=4)) is Outcome.FINISHED
        (weights / "fusion").mkdir(exist_ok=True)
        (out / kind / "model" / "fusion" / kind).rename(weights / "fusion" / kind)
    assert enhancer_training(out / "enhancer", weights, prior).train(Budget(steps=4)) is Outcome.FINISHED
    enhancer = weights / "fusion" / "enhancer"
    (out / "enhancer" / "model" / "fusion" / "enhancer").rename(enhancer)
    _shake(enhancer / "model.safetensors")
    return weights


def _shake(weights: Path) -> None:
    """Let an enhancer do something: after four steps it would be as good as nothing, whatever it was handed."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: (value.float() + 0.05 * torch.randn(value.shape, generator=generator)).half()
        for name, value in sorted(load_file(weights).items())
    }
    save_tensors(tensors, weights)


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth picture with some texture."""
    return smooth_images(seed + 1, side=max(height, width))[seed][1]()[:height, :width]
