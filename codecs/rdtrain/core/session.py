"""What the trainings of all models do around the loop: identify themselves, go on from a state, export."""

import hashlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from rdtrain.core.errors import TrainingError
from rdtrain.core.folder_lock import lock_folder
from rdtrain.core.loop import Budget, Outcome, Report, Rhythm, train
from rdtrain.core.settings import keep_settings, to_json
from rdtrain.core.state import load_state
from rdtrain.core.task import Task

_T = TypeVar("_T", bound=Task)


@dataclass(frozen=True)
class Run:
    """Where and how one run of a training goes; none of it decides the outcome but for rounding.

    Attributes:
        device: where to train.
        rhythm: how often to log, look and save.
        compiled: compile the networks (worth it on a GPU).
        deadline: value of `time.monotonic` at which to pause.
        report: called after each line of the log.
    """

    device: torch.device
    rhythm: Rhythm
    compiled: bool = False
    deadline: float | None = None
    report: Callable[[Report], None] = lambda _report: None

    def train(
        self,
        task: Task,
        folder: Path,
        budget: Budget,
        facts: Mapping[str, str],
        begin: Callable[[], None],
        export: Callable[[], None],
    ) -> Outcome:
        """Train until the budget is spent, and export unless it was interrupted.

        Args:
            task: what to train.
            folder: for states, log and pictures.
            budget: for all runs together.
            facts: of data and settings; a state made with others is refused.
            begin: called once nothing is left to refuse: keeps the settings.
            export: writes the model from the task.

        Raises:
            TrainingError: the state in the folder belongs to another training, or one is at work there.
        """
        with lock_folder(folder):
            outcome = train(
                task,
                folder,
                budget,
                facts=facts,
                rhythm=self.rhythm,
                device=self.device,
                deadline=self.deadline,
                report=self.report,
                begin=begin,
            )
            if outcome is not Outcome.INTERRUPTED:
                export()
        return outcome

    def export(self, task: Task, folder: Path, export: Callable[[], None]) -> None:
        """Export what the folder's last state holds; arguments as for `train`.

        Raises:
            TrainingError: there is no state.
        """
        state = load_state(folder, self.device)
        if state is None:
            raise TrainingError(f"nothing has been trained in '{folder}' yet")
        task.load(state.tensors)
        export()


class Session(ABC, Generic[_T]):
    """A training of one task in one folder, over any number of runs: `train`, and `export` of what it has come to.

    Attributes:
        out: its folder.
        config: what is trained.
        run: where and how.
    """

    out: Path
    config: Any
    run: Run

    def train(self, budget: Budget) -> Outcome:
        """Train until the budget is spent, and export unless it was interrupted.

        Raises:
            TrainingError: the state in the folder belongs to another training, or the settings do not fit.
        """
        task = self._task()
        return self.run.train(
            task,
            self._states,
            budget,
            self._facts(task),
            lambda: keep_settings(self.out, self.config),
            lambda: self._write(task),
        )

    def export(self) -> None:
        """Export the model as its last state has it.

        Raises:
            TrainingError: there is no state.
        """
        task = self._task()
        self.run.export(task, self._states, lambda: self._write(task))

    @property
    @abstractmethod
    def _states(self) -> Path:
        """The folder of states, log and pictures."""

    @abstractmethod
    def _task(self) -> _T:
        """Return the task at its beginning."""

    @abstractmethod
    def _facts(self, task: _T) -> dict[str, str]:
        """Return what the training depends on: a state made with other facts is refused."""

    @abstractmethod
    def _write(self, task: _T) -> None:
        """Export the task's averaged weights."""


def bring_along(source: Path, target: Path) -> None:
    """Copy the folder of a model that an exported one needs beside it, unless it is there already."""
    if target.resolve() != source.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True)


def settings_digest(config: Any) -> str:
    """Return a SHA-256 of settings."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()
