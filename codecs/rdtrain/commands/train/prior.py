"""rdbench train prior: the tiny latent diffusion model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdtrain.commands.train.options import (
    add_budget,
    add_run,
    add_settings,
    find_device,
    make_budget,
    make_console,
    make_run,
    read_folder,
    say_outcome,
    training_settings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from rdbench.commands import Commands
    from rdtrain.core.session import Run
    from rdtrain.prior.autoencoder import Sketches
    from rdtrain.prior.session import Part, PriorSession

_PARTS = ("vae", "unet", "all")


def add_parser(models: "Commands") -> None:
    """Declare the command."""
    prior = models.add_parser(
        "prior",
        help="the tiny latent diffusion model",
        description="Train an autoencoder and a U-Net from any folder of images, and write them as a folder that "
        "diffusers loads (OUT/model). Stop it whenever you like: --resume goes on from the exact step.",
    )
    prior.add_argument("--data", type=Path, required=True, help="folder of images, searched with its subfolders")
    place = prior.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, help="folder for states, logs, pictures and the model")
    place.add_argument("--evaluate", type=Path, metavar="DIR", help="measure this model, write its model card")
    prior.add_argument("--images", type=Path, help="with --evaluate: folder of test images, e.g. Kodak")
    prior.add_argument("--part", choices=_PARTS, default="all", help="what to train (default: all)")
    add_budget(prior)
    prior.add_argument("--vae-share", type=float, default=0.6, help="the autoencoder's share of --minutes (0.6)")
    prior.add_argument("--init", help="begin with this model: tiny, a diffusers folder or a hub id")
    add_settings(prior, "tiny (default), cpu, micro", "autoencoder.batch=16")
    prior.add_argument(
        "--sketches",
        metavar="DIR",
        help="let the decoder learn from sketches of this hyperprior too (tiny, or the OUT/model of a training with "
        "--stage 1); needs --init and --set autoencoder.freeze_encoder=true",
    )
    prior.add_argument(
        "--keep",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="blend the exported decoder with the one that --init names: share of the latter's weights, 0 to 1 (0); "
        "also with --export",
    )
    prior.add_argument("--perceptual", choices=("alex", "vgg", "none"), default="alex", help="ST-LPIPS backbone")
    add_run(prior)
    prior.add_argument("--compile", action="store_true", help="compile the networks; worth it on a GPU")
    prior.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Train; 130 where a signal ended it (everything is saved)."""
    console = make_console()
    if options.evaluate:
        _evaluate(options, console)
        return 0
    session = open_session(options, console)
    parts: list[Part] = ["vae", "unet"] if options.part == "all" else [options.part]
    for part in parts:
        if options.export:
            session.export(part)
            continue
        share = 1.0
        if options.part == "all":
            share = options.vae_share if part == "vae" else 1 - options.vae_share
        outcome = session.train(part, make_budget(options, share))
        code = say_outcome(part, outcome, console)
        if code:
            return code
        if outcome.name == "PAUSED":
            break
    console.print(f"model: {session.model}", markup=False)
    return 0


def open_session(options: argparse.Namespace, console: "Console") -> "PriorSession":
    """Settle the settings, read the images and return the training."""
    from rdcodecs.prior.folder import locate
    from rdtrain.prior.session import PriorSession
    from rdtrain.prior.settings import PRESETS

    run = make_run(options, console, compiled=options.compile)
    config = training_settings(options, PRESETS, {}, console)
    start = locate(options.init) if options.init else None
    return PriorSession(
        options.out,
        config,
        read_folder(options.data, config, console),
        run,
        perceptual=perceptual_loss(options.perceptual, run.device),
        start=start,
        sketches=_sketches(options.sketches, start, run) if options.sketches else None,
        kept=options.keep,
    )


def _sketches(name: str, start: Path | None, run: "Run") -> "Sketches":
    from rdcodecs.hyperprior.codec import FOLDER
    from rdcodecs.hyperprior.weights import load_hyperprior
    from rdcodecs.prior.autoencoders import names_latents
    from rdcodecs.prior.load import load_network
    from rdcodecs.shipped import shipped_or_folder
    from rdtrain.core.errors import TrainingError
    from rdtrain.hyperprior.sketches import DecodedSketches

    hyperprior = load_hyperprior(shipped_or_folder(name) / FOLDER, run.device)
    if start is not None and not names_latents(hyperprior.sketch_prior, load_network(start, "vae")):
        raise TrainingError(f"'{name}' draws no sketches for the latents of '{start}'")
    return DecodedSketches(hyperprior)


def perceptual_loss(backbone: str, device: Any) -> Any:
    """Return ST-LPIPS as a loss, or `None` for "none"."""
    if backbone == "none":
        return None
    import torch

    from rdbench.metrics.st_lpips_net import STLPIPSNet

    net: Any = STLPIPSNet(backbone)
    return net.to(device, memory_format=torch.channels_last)


def _evaluate(options: argparse.Namespace, console: "Console") -> None:
    from rdbench.datasets.folder import FolderDataset
    from rdcodecs.prior import load
    from rdtrain.prior.card import recorded_config
    from rdtrain.prior.evaluation import measure_prior

    crops = read_folder(options.data, recorded_config(options.evaluate), console)
    images = FolderDataset(options.images).items() if options.images else []
    card = measure_prior(load(options.evaluate, device=find_device(options.device)), options.evaluate, crops, images)
    console.print(f"model card: {card}", markup=False)
