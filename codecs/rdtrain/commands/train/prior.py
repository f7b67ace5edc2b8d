"""rdbench train prior: from its options to the recipes of the tiny latent diffusion model's two parts."""

import argparse
from pathlib import Path
from typing import Any

from rdbench.datasets.folder import FolderDataset
from rdcodecs.hyperprior.codec import FOLDER
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.prior import load
from rdcodecs.prior.autoencoders import names_latents
from rdcodecs.prior.folder import locate
from rdcodecs.prior.load import load_network
from rdcodecs.shipped import shipped_or_folder
from rdtrain.commands.train.options import Options
from rdtrain.core.errors import TrainingError
from rdtrain.core.loop import Outcome, Run
from rdtrain.core.recipe import Recipe, Training
from rdtrain.hyperprior.sketches import DecodedSketches
from rdtrain.prior.card import recorded_config
from rdtrain.prior.evaluation import measure_prior
from rdtrain.prior.recipes import AutoencoderRecipe, UNetRecipe
from rdtrain.prior.settings import PRESETS


def execute(options: argparse.Namespace) -> int:
    """Train the parts one after another, export or evaluate them; return the exit status."""
    told = Options(options)
    if options.evaluate:
        _evaluate(options, told)
        return 0
    run = told.run(compiled=options.compile)
    recipes = _recipes(options, told, run)
    shares = {"vae": options.vae_share, "unet": 1 - options.vae_share} if options.part == "all" else {options.part: 1.0}
    for part, share in shares.items():
        training = Training(recipes[part], run)
        if options.export:
            training.export()
            continue
        outcome = told.train(part, training, share)
        if outcome is Outcome.INTERRUPTED:
            return 130
        if outcome is Outcome.PAUSED:
            break
    told.say(f"model: {run.model}")
    return 0


def _recipes(options: argparse.Namespace, told: Options, run: Run) -> dict[str, Recipe[Any]]:
    config = told.settings(PRESETS)
    start = locate(options.init) if options.init else None
    crops = told.crops(config)
    perceptual = told.perceptual(run.device)
    sketches = _sketches(options.sketches, start, run) if options.sketches else None
    return {
        "vae": AutoencoderRecipe(config, crops, perceptual, start, sketches, options.keep),
        "unet": UNetRecipe(config, crops, start),
    }


def _sketches(name: str, start: Path | None, run: Run) -> DecodedSketches:
    hyperprior = load_hyperprior(shipped_or_folder(name) / FOLDER, run.device)
    if start is not None and not names_latents(hyperprior.sketch_prior, load_network(start, "vae")):
        raise TrainingError(f"'{name}' draws no sketches for the latents of '{start}'")
    return DecodedSketches(hyperprior)


def _evaluate(options: argparse.Namespace, told: Options) -> None:
    crops = told.crops(recorded_config(options.evaluate))
    images = FolderDataset(options.images).items() if options.images else []
    prior = load(options.evaluate, device=told.device())
    card = measure_prior(prior, options.evaluate, crops, [(item.name, item.load) for item in images])
    told.say(f"model card: {card}")
