"""What the trainings of all models are told alike: where and how long, with which settings, on what, judged by what."""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console

from rdbench.errors import BenchError
from rdbench.metrics.st_lpips_net import STLPIPSNet
from rdbench.progress import format_seconds
from rdtrain.commands.images import read_folder
from rdtrain.core.data import Crops
from rdtrain.core.loop import Budget, Outcome, Report, Rhythm, Run
from rdtrain.core.picture_distance import Perceptual
from rdtrain.core.recipe import Training
from rdtrain.core.settings import FILE, CommonSettings, change, read_settings, settle

_C = TypeVar("_C", bound=CommonSettings)

_SAID = {
    Outcome.FINISHED: "finished",
    Outcome.PAUSED: "paused; --resume goes on",
    Outcome.INTERRUPTED: "interrupted and saved; --resume goes on",
}


class Options:
    """The options of a training, and what they amount to.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line to the terminal."""
        self._console.print(text, markup=False)

    def device(self) -> torch.device:
        """Return where to train; "auto" is a GPU where there is one."""
        name = self._options.device
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)

    def run(self, *, compiled: bool = False) -> Run:
        """Return where and how this run goes; its time begins now."""
        options = self._options
        pause = options.pause_after
        return Run(
            options.out,
            self.device(),
            Rhythm(options.log_steps, 60 * options.look_minutes, 60 * options.save_minutes, options.shard_mib),
            compiled=compiled,
            deadline=None if pause is None else time.monotonic() + 60 * pause,
            report=self._report,
        )

    def settings(
        self,
        presets: Mapping[str, _C],
        fixed: Mapping[str, str] | None = None,
        grow: Callable[[_C], _C] | None = None,
    ) -> _C:
        """Return the settings of the training in the folder, or of the one that begins.

        Args:
            presets: by name; one is `tiny`.
            fixed: settings that other options name, as for ``--set``.
            grow: adds to settings what the model that the training begins with needs.

        Raises:
            TrainingError: a training has begun and is not to be resumed, or has other settings.
        """
        options = self._options
        wanted, default = self._wanted(presets, fixed or {}), presets["tiny"]
        if grow is not None:
            wanted, default = None if wanted is None else grow(wanted), grow(default)
        if options.resume and not (options.out / FILE).is_file():
            preset = options.preset or "tiny"
            self.say(f"nothing has begun in '{options.out}': beginning with the preset {preset}")
        return settle(options.out, wanted, default, resume=options.resume or options.export)

    def _wanted(self, presets: Mapping[str, _C], fixed: Mapping[str, str]) -> _C | None:
        """Return the settings that the command line names, or `None` where it names none.

        Without a preset they change those of the training in the folder, or the preset `tiny` where none has begun.
        """
        options = self._options
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

    def crops(self, config: CommonSettings) -> Crops:
        """Read the images.

        Raises:
            BenchError: the folder is missing or empty, or an image cannot be read.
        """
        return read_folder(self._options.data, config, self._console)

    def perceptual(self, device: torch.device) -> Perceptual | None:
        """Return ST-LPIPS as a loss, or `None` for "none".

        Raises:
            MetricUnavailableError: its weights are missing.
        """
        if self._options.perceptual == "none":
            return None
        net: Any = STLPIPSNet(self._options.perceptual)
        moved: Perceptual = net.to(device, memory_format=torch.channels_last)
        return moved

    def train(self, part: str, training: Training[Any], share: float = 1.0) -> Outcome:
        """Train a part, which gets this share of the minutes, and say how it ended."""
        options = self._options
        minutes = share * options.minutes
        budget = Budget(minutes=minutes) if options.steps is None else Budget(steps=options.steps)
        outcome = training.train(budget)
        self.say(f"{part}: {_SAID[outcome]}")
        return outcome

    def carry_out(self, part: str, training: Training[Any]) -> int:
        """Train, or export where that is asked for; return the exit status: 130 where a signal ended it."""
        if self._options.export:
            training.export()
            return 0
        return 130 if self.train(part, training) is Outcome.INTERRUPTED else 0

    def _report(self, report: Report) -> None:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in report.values.items() if name != "rate")
        left = format_seconds(report.seconds_left)
        self.say(f"{report.part} step {report.step} ({100 * report.progress:.1f} %, {left} left)  {shown}")
