"""What the trainings of all models have in common on the command line."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rdbench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rdtrain.core.data import Crops
    from rdtrain.core.loop import Budget, Outcome, Report
    from rdtrain.core.session import Run

DEFAULT_MINUTES = 180.0

_SAID = {
    "FINISHED": "finished",
    "PAUSED": "paused; --resume goes on",
    "INTERRUPTED": "interrupted and saved; --resume goes on",
}


def make_console() -> Console:
    """Return where a training reports to."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Declare how long to train."""
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help=f"time over all runs together (default: {DEFAULT_MINUTES:g})")
    budget.add_argument("--steps", type=int, help="number of steps instead of a time; it makes a training exact")
    parser.add_argument("--pause-after", type=float, metavar="MIN", help="end this run after so many minutes")


def add_settings(parser: argparse.ArgumentParser, presets: str, example: str) -> None:
    """Declare what is trained and how."""
    parser.add_argument("--resume", action="store_true", help="go on with the training in OUT")
    parser.add_argument("--export", action="store_true", help="train nothing, write the model of the last state")
    parser.add_argument("--preset", help=f"settings: {presets}, or a JSON file like OUT/config.json")
    parser.add_argument("--seed", type=int, help="of weights, order, crops and noise (default: 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help=f"change a setting, e.g. {example}"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare where it runs, and how often something is written."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 ...")
    parser.add_argument("--save-minutes", type=float, default=5, help="between states (5)")
    parser.add_argument("--look-minutes", type=float, default=5, help="between evaluations with pictures (5)")
    parser.add_argument("--log-steps", type=int, default=50, help="steps averaged to a line of the log (50)")
    parser.add_argument("--shard-mib", type=float, default=512, help="largest file of a state, in MiB (512)")


def make_run(options: argparse.Namespace, console: Console, *, compiled: bool = False) -> "Run":
    """Return where and how this run goes; its time begins now."""
    from rdtrain.core.loop import Rhythm
    from rdtrain.core.session import Run

    pause = options.pause_after
    return Run(
        find_device(options.device),
        Rhythm(options.log_steps, 60 * options.look_minutes, 60 * options.save_minutes, options.shard_mib),
        compiled=compiled,
        deadline=None if pause is None else time.monotonic() + 60 * pause,
        report=lambda report: _say(report, console),
    )


def training_settings(
    options: argparse.Namespace,
    presets: "Mapping[str, Any]",
    fixed: "Mapping[str, str]",
    console: Console,
    grow: "Callable[[Any], Any] | None" = None,
) -> Any:
    """Return the settings of the training in the folder, or of the one that begins.

    Args:
        options: of the command line.
        presets: by name; one is `tiny`.
        fixed: settings that other options name, as for ``--set``.
        console: where a `--resume` that finds nothing to go on with is said.
        grow: adds to settings what the model that the training begins with needs.

    Raises:
        TrainingError: a training has begun and is not to be resumed, or has other settings.
    """
    from rdtrain.core.settings import FILE, settle

    wanted, default = _wanted(options, presets, fixed), presets["tiny"]
    if grow is not None:
        wanted, default = None if wanted is None else grow(wanted), grow(default)
    if options.resume and not (options.out / FILE).is_file():
        preset = options.preset or "tiny"
        console.print(f"nothing has begun in '{options.out}': beginning with the preset {preset}", markup=False)
    return settle(options.out, wanted, default, resume=options.resume or options.export)


def _wanted(options: argparse.Namespace, presets: "Mapping[str, Any]", fixed: "Mapping[str, str]") -> Any:
    """Return the settings that the command line names, or `None` where it names none.

    Without a preset they change those of the training in the folder, or the preset `tiny` where none has begun.
    """
    from rdtrain.core.settings import FILE, change, read_settings

    changes = dict(fixed)
    for text in options.set:
        name, sign, value = text.partition("=")
        if not sign:
            raise BenchError(f"--set {text}: write NAME=VALUE, e.g. seed=3")
        changes[name] = value
    if options.seed is not None:
        changes["seed"] = str(options.seed)
    if options.preset is None and not changes:
        return None
    begun = options.out / FILE
    name = options.preset or (str(begun) if begun.is_file() else "tiny")
    if name not in presets and not Path(name).is_file():
        raise BenchError(f"there is no preset '{name}': have {', '.join(presets)}, or give a JSON file")
    settings = presets[name] if name in presets else read_settings(type(presets["tiny"]), Path(name))
    return change(settings, changes)


def make_budget(options: argparse.Namespace, share: float = 1.0) -> "Budget":
    """Return the budget of one part, which gets this share of the minutes."""
    from rdtrain.core.loop import Budget

    if options.steps is not None:
        return Budget(steps=options.steps)
    return Budget(minutes=share * (DEFAULT_MINUTES if options.minutes is None else options.minutes))


def read_folder(folder: Path, config: Any, console: Console) -> "Crops":
    """Read a folder's images into memory as crops.

    Raises:
        BenchError: the folder is missing or empty, or an image cannot be read.
    """
    from rdbench.datasets.folder import FolderDataset
    from rdtrain.core.data import read_crops

    def report(done: int, total: int) -> None:
        if done == total or done % 1000 == 0:
            console.print(f"read {done} of {total} images", markup=False)

    crops = read_crops(
        [(item.name, item.load) for item in FolderDataset(folder).items()],
        side=config.store,
        per_image=config.crops_per_image,
        held_out=config.held_out,
        report=report,
        threads=os.cpu_count() or 1,
    )
    console.print(
        f"{len(crops.train)} crops of {crops.files[0]} images to train on, {len(crops.held_out)} of "
        f"{crops.files[1]} held out",
        markup=False,
    )
    return crops


def find_device(name: str) -> Any:
    """Return a torch device; "auto" is a GPU where there is one."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def say_outcome(part: str, outcome: "Outcome", console: Console) -> int:
    """Say how a training ended, and return the exit code: 130 where a signal ended it."""
    console.print(f"{part}: {_SAID[outcome.name]}", markup=False)
    return 130 if outcome.name == "INTERRUPTED" else 0


def _say(report: "Report", console: Console) -> None:
    from rdbench.progress import format_seconds

    shown = "  ".join(f"{name} {value:.4g}" for name, value in report.values.items() if name != "rate")
    left = format_seconds(report.seconds_left)
    console.print(
        f"{report.part} step {report.step} ({100 * report.progress:.1f} %, {left} left)  {shown}", markup=False
    )
