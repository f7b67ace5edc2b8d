"""rdbench train: train the models that the diffusion codecs need."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rdbench.errors import BenchError

if TYPE_CHECKING:
    from rdbench.commands import Commands
    from rdcodecs.prior.train.session import Part, Session
    from rdcodecs.training.data import Crops
    from rdcodecs.training.loop import Report

_PARTS = ("vae", "unet", "all")
_DEFAULT_MINUTES = 180.0


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser("train", help="train a model of the diffusion codecs from a folder of images")
    models = parser.add_subparsers(dest="model", metavar="MODEL", required=True)
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
    budget = prior.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help=f"time over all runs together (default: {_DEFAULT_MINUTES:g})")
    budget.add_argument("--steps", type=int, help="steps of each part instead of a time")
    prior.add_argument("--pause-after", type=float, metavar="MIN", help="end this run after so many minutes")
    prior.add_argument("--vae-share", type=float, default=0.6, help="the autoencoder's share of --minutes (0.6)")
    prior.add_argument("--resume", action="store_true", help="go on with the training in OUT")
    prior.add_argument("--export", action="store_true", help="train nothing, write the model of the last state")
    prior.add_argument("--init", help="begin with this model: tiny, a diffusers folder or a hub id")
    prior.add_argument("--preset", help="settings: tiny (default), cpu, micro, or a JSON file like OUT/config.json")
    prior.add_argument("--seed", type=int, help="of weights, order, crops and noise (default: 0)")
    prior.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting, e.g. autoencoder.batch=16"
    )
    prior.add_argument("--perceptual", choices=("alex", "vgg", "none"), default="alex", help="ST-LPIPS backbone")
    prior.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 ...")
    prior.add_argument("--compile", action="store_true", help="compile the networks; worth it on a GPU")
    prior.add_argument("--save-minutes", type=float, default=5, help="between states (5)")
    prior.add_argument("--look-minutes", type=float, default=5, help="between evaluations with pictures (5)")
    prior.add_argument("--log-steps", type=int, default=50, help="steps averaged to a line of the log (50)")
    prior.add_argument("--shard-mib", type=float, default=512, help="largest file of a state, in MiB (512)")
    prior.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Train; 130 where a signal ended it (everything is saved)."""
    from rdcodecs.training.loop import Outcome

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if options.evaluate:
        _evaluate(options, console)
        return 0
    session = open_session(options, console)
    parts: list[Part] = ["vae", "unet"] if options.part == "all" else [options.part]
    for part in parts:
        if options.export:
            session.export(part)
            continue
        outcome = session.train(part, _budget(options, part))
        console.print(f"{part}: {_SAID[outcome.name]}", markup=False)
        if outcome is Outcome.INTERRUPTED:
            return 130
        if outcome is Outcome.PAUSED:
            break
    console.print(f"model: {session.model}", markup=False)
    return 0


def open_session(options: argparse.Namespace, console: Console) -> "Session":
    """Settle the settings, read the images and return the training."""
    from rdcodecs.prior.folder import locate
    from rdcodecs.prior.train.config import TrainConfig
    from rdcodecs.prior.train.session import Session
    from rdcodecs.training.loop import Rhythm
    from rdcodecs.training.settings import settle

    begun = time.monotonic()
    config = settle(options.out, _wanted_config(options), TrainConfig(), resume=options.resume or options.export)
    device = _device(options.device)
    crops = read_folder(options.data, config, console)
    console.print(
        f"{len(crops.train)} crops of {crops.files[0]} images to train on, {len(crops.held_out)} of "
        f"{crops.files[1]} held out; {device}, seed {config.seed}",
        markup=False,
    )
    return Session(
        options.out,
        config,
        crops,
        device,
        Rhythm(options.log_steps, 60 * options.look_minutes, 60 * options.save_minutes, options.shard_mib),
        perceptual=perceptual_loss(options.perceptual, device),
        start=locate(options.init) if options.init else None,
        compiled=options.compile,
        deadline=None if options.pause_after is None else begun + 60 * options.pause_after,
        report=lambda report: _say(report, console),
    )


def read_folder(folder: Path, config: Any, console: Console) -> "Crops":
    """Read a folder's images into memory as crops.

    Raises:
        BenchError: the folder is missing or empty, or an image cannot be read.
    """
    from rdbench.datasets.folder import FolderDataset
    from rdcodecs.training.data import read_crops

    def report(done: int, total: int) -> None:
        if done == total or done % 1000 == 0:
            console.print(f"read {done} of {total} images", markup=False)

    return read_crops(
        [(item.name, item.load) for item in FolderDataset(folder).items()],
        side=config.store,
        per_image=config.crops_per_image,
        held_out=config.held_out,
        report=report,
        threads=os.cpu_count() or 1,
    )


def perceptual_loss(backbone: str, device: Any) -> Any:
    """Return ST-LPIPS as a loss, or `None` for "none"."""
    if backbone == "none":
        return None
    import torch

    from rdbench.metrics.st_lpips_net import STLPIPSNet

    net: Any = STLPIPSNet(backbone)
    return net.to(device, memory_format=torch.channels_last)


def _evaluate(options: argparse.Namespace, console: Console) -> None:
    from rdbench.datasets.folder import FolderDataset
    from rdbench.prior_quality import measure_prior
    from rdcodecs.prior import load
    from rdcodecs.prior.train.card import recorded_config

    crops = read_folder(options.data, recorded_config(options.evaluate), console)
    images = FolderDataset(options.images).items() if options.images else []
    card = measure_prior(load(options.evaluate, device=_device(options.device)), options.evaluate, crops, images)
    console.print(f"model card: {card}", markup=False)


def _device(name: str) -> Any:
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def _wanted_config(options: argparse.Namespace) -> Any:
    from rdcodecs.prior.train.config import PRESETS, TrainConfig
    from rdcodecs.training.settings import change, read_settings

    changes = {}
    for text in options.set:
        name, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"--set {text}: write NAME=VALUE, e.g. autoencoder.batch=16")
        changes[name] = value
    if options.seed is not None:
        changes["seed"] = str(options.seed)
    if options.preset is None and not changes:
        return None
    name = options.preset or "tiny"
    if name not in PRESETS and not Path(name).is_file():
        raise BenchError(f"there is no preset '{name}': have {', '.join(PRESETS)}, or give a JSON file")
    return change(PRESETS[name] if name in PRESETS else read_settings(TrainConfig, Path(name)), changes)


def _budget(options: argparse.Namespace, part: str) -> Any:
    from rdcodecs.training.loop import Budget

    if options.steps is not None:
        return Budget(steps=options.steps)
    minutes = _DEFAULT_MINUTES if options.minutes is None else options.minutes
    if options.part == "all":
        minutes *= options.vae_share if part == "vae" else 1 - options.vae_share
    return Budget(minutes=minutes)


_SAID = {
    "FINISHED": "finished",
    "PAUSED": "paused; --resume goes on",
    "INTERRUPTED": "interrupted and saved; --resume goes on",
}


def _say(report: "Report", console: Console) -> None:
    from rdbench.progress import format_seconds

    shown = "  ".join(f"{name} {value:.4g}" for name, value in report.values.items() if name != "rate")
    left = format_seconds(report.seconds_left)
    console.print(
        f"{report.part} step {report.step} ({100 * report.progress:.1f} %, {left} left)  {shown}", markup=False
    )
