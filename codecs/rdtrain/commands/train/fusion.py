"""rdbench train fusion: from its options to the recipe of a stage."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rdcodecs.fusion.codec import FOLDER as CONTROLS
from rdcodecs.fusion.weights import ENHANCER
from rdcodecs.hyperprior.codec import FOLDER as HYPERPRIOR
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.weights import load_hyperprior, read_hyperprior_config
from rdcodecs.prior import Prior, load
from rdcodecs.shipped import TINY, shipped_or_folder
from rdtrain.commands.train.options import Options
from rdtrain.core.errors import TrainingError
from rdtrain.core.recipe import Training
from rdtrain.fusion.enhancement import Enhancement, read_enhancement
from rdtrain.fusion.frozen_codec import FrozenCodec
from rdtrain.fusion.recipes import EnhancerRecipe, FusionRecipe, read_controls
from rdtrain.fusion.settings import CONTROL_PRESETS, ENHANCER_PRESETS
from rdtrain.hyperprior.recipe import HyperpriorRecipe
from rdtrain.hyperprior.settings import PRESETS as HYPERPRIOR_PRESETS
from rdtrain.hyperprior.settings import HyperpriorTrainConfig

_TAKEN = {"hyperprior": (2,), "fusion": (2,), "weights": (3,), "enhancer": (1, 2)}
"""Options that not all stages take."""


def execute(options: argparse.Namespace) -> int:
    """Train a stage, or export it; return the exit status."""
    # A training for another model than was meant takes hours.
    for name, stages in _TAKEN.items():
        if getattr(options, name) and options.stage not in stages:
            wanted = " or ".join(map(str, stages))
            raise TrainingError(f"--{name} is for stage {wanted}: leave it out of stage {options.stage}")
    told = Options(options)
    training = {1: _hyperprior, 2: _control, 3: _enhancer}[options.stage](options, told)
    return told.carry_out(f"stage {options.stage}", training)


def _hyperprior(options: argparse.Namespace, told: Options) -> Training[Any]:
    run = told.run(compiled=options.compile)
    for name, verb in (("perceptual", "judges"), ("enhancer", "changes")):
        if getattr(options, name) not in (None, "none") and not options.prior:
            raise TrainingError(f"--{name} {verb} sketches in stage 1: name their --prior too, or leave it out")
    prior = _frozen(options.prior, run.device) if options.prior else None
    start = shipped_or_folder(options.init) / HYPERPRIOR if options.init else None
    sketch = {"model.sketch_channels": str(prior.channels), "model.sketch_stride": str(prior.stride)} if prior else {}
    config = told.settings(HYPERPRIOR_PRESETS, sketch, _grown_to(start) if start else None)
    enhancement = _enhancement(options.enhancer, prior, config.model) if prior else None
    if enhancement is not None and enhancement.sees_latents and start is None:
        raise TrainingError(
            "--enhancer names one that sees decoded latents, of its own hyperprior: begin with that, by --init, or "
            "name an enhancer that sees pictures alone (shape.coarse=0)"
        )
    crops = told.crops(config)
    perceptual = told.perceptual(run.device) if prior else None
    return Training(HyperpriorRecipe(config, crops, prior, perceptual, enhancement, start), run)


def _control(options: argparse.Namespace, told: Options) -> Training[Any]:
    run = told.run()
    config = told.settings(CONTROL_PRESETS, {"shape.kind": options.fusion} if options.fusion else {})
    codec = _codec(options.hyperprior, options.prior, run.device)
    enhancement = _enhancement(options.enhancer, codec.prior, codec.hyperprior.config)
    perceptual = told.perceptual(run.device)
    start = shipped_or_folder(options.init) / CONTROLS / config.shape.kind if options.init else None
    return Training(FusionRecipe(config, told.crops(config), codec, perceptual, enhancement, start), run)


def _enhancer(options: argparse.Namespace, told: Options) -> Training[Any]:
    run = told.run()
    config = told.settings(ENHANCER_PRESETS)
    codec = _codec(options.weights, options.prior, run.device)
    weights = shipped_or_folder(options.weights or TINY)
    controls = read_controls(weights, codec)
    perceptual = told.perceptual(run.device)
    start = shipped_or_folder(options.init) / CONTROLS / ENHANCER if options.init else None
    return Training(EnhancerRecipe(config, told.crops(config), codec, weights, controls, perceptual, start), run)


def _codec(weights: str | None, prior: str | None, device: torch.device) -> FrozenCodec:
    hyperprior = load_hyperprior(shipped_or_folder(weights or TINY) / HYPERPRIOR, device)
    return FrozenCodec(hyperprior, _frozen(prior or TINY, device))


def _enhancement(name: str | None, prior: Prior, hyperprior: HyperpriorConfig) -> Enhancement | None:
    return read_enhancement(shipped_or_folder(name) / CONTROLS / ENHANCER, prior, hyperprior) if name else None


def _frozen(name: str, device: torch.device) -> Prior:
    # In single precision also on a GPU: what has a gradient through it runs under autocast.
    return load(name, dtype=torch.float32, device=device)


def _grown_to(start: Path) -> Callable[[HyperpriorTrainConfig], HyperpriorTrainConfig]:
    """Return what gives settings the parts that a model has and they do not ask for; what they ask for stays."""
    has = read_hyperprior_config(start)

    def grow(config: HyperpriorTrainConfig) -> HyperpriorTrainConfig:
        width = config.model.context_width or has.context_width
        blocks = max(config.model.sketch_blocks, has.sketch_blocks)
        named = config.model.rounding_offset
        offset = has.rounding_offset if named == HyperpriorConfig.rounding_offset else named
        model = replace(config.model, context_width=width, sketch_blocks=blocks, rounding_offset=offset)
        return replace(config, model=model)

    return grow
