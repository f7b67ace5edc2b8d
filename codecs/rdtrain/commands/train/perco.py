"""rdbench train perco: PerCo, from a diffusion model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rdtrain.commands.train.options import (
    add_budget,
    add_run,
    add_settings,
    make_budget,
    make_console,
    make_run,
    read_folder,
    say_outcome,
    training_settings,
)
from rdtrain.commands.train.prior import perceptual_loss

if TYPE_CHECKING:
    from rich.console import Console

    from rdbench.commands import Commands
    from rdtrain.perco.session import PerCoSession


def add_parser(models: "Commands") -> None:
    """Declare the command."""
    perco = models.add_parser(
        "perco",
        help="PerCo: hyper-encoders, codebooks, and the whole U-Net of a prior",
        description="Fine-tune a latent diffusion model to draw from vector-quantised latents, at several rate points "
        "at once. OUT/model is what the codec perco takes as 'model'; OUT/model/perco is what is new in it. Stop it "
        "whenever you like: --resume goes on from the exact step.",
    )
    perco.add_argument("--data", type=Path, required=True, help="folder of images, searched with its subfolders")
    perco.add_argument("--out", type=Path, required=True, help="folder for states, logs, pictures and the model")
    perco.add_argument("--prior", default="tiny", help="what to begin from: tiny (default), a folder or a hub id")
    perco.add_argument("--init", metavar="DIR", help="begin with this PerCo: tiny or the OUT/model of a training")
    add_budget(perco)
    add_settings(perco, "tiny (default), micro", "batch=16")
    perco.add_argument(
        "--perceptual",
        choices=("alex", "vgg", "none"),
        default="none",
        help="ST-LPIPS backbone of the loss on pictures; its weight: --set pictures.weight=1 (none)",
    )
    add_run(perco)
    perco.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Train; 130 where a signal ended it (everything is saved)."""
    console = make_console()
    session = open_session(options, console)
    if options.export:
        session.export()
        return 0
    code = say_outcome("perco", session.train(make_budget(options)), console)
    if not code:
        console.print(f"model: {options.out / 'model'}", markup=False)
    return code


def open_session(options: argparse.Namespace, console: "Console") -> "PerCoSession":
    """Settle the settings, read the images and return the training."""
    from rdcodecs.shipped import shipped_or_folder
    from rdtrain.perco.session import PerCoSession
    from rdtrain.perco.settings import PRESETS

    run = make_run(options, console)
    config = training_settings(options, PRESETS, {}, console)
    perceptual = perceptual_loss(options.perceptual, run.device)
    crops = read_folder(options.data, config, console)
    start = shipped_or_folder(options.init) if options.init else None
    return PerCoSession(options.out, config, crops, options.prior, run, perceptual=perceptual, start=start)
