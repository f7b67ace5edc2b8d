"""rdbench train perco: from its options to a recipe."""

import argparse

from rdcodecs.shipped import shipped_or_folder
from rdtrain.commands.train.options import Options
from rdtrain.core.recipe import Training
from rdtrain.perco.recipe import PerCoRecipe
from rdtrain.perco.settings import PRESETS


def execute(options: argparse.Namespace) -> int:
    """Train, or export; return the exit status."""
    told = Options(options)
    run = told.run()
    config = told.settings(PRESETS)
    perceptual = told.perceptual(run.device)
    crops = told.crops(config)
    start = shipped_or_folder(options.init) if options.init else None
    training = Training(PerCoRecipe(config, crops, options.prior, perceptual, start), run)
    status = told.carry_out("perco", training)
    if not status and not options.export:
        told.say(f"model: {run.model}")
    return status
