"""What the trainings of all models do around the loop: identify themselves, go on from a state, export."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rdcodecs.training.errors import TrainingError
from rdcodecs.training.loop import Budget, Outcome, Report, Rhythm, train
from rdcodecs.training.settings import to_json
from rdcodecs.training.state import load_state
from rdcodecs.training.task import Task


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
        self, task: Task, folder: Path, budget: Budget, facts: Mapping[str, str], export: Callable[[], None]
    ) -> Outcome:
        """Train until the budget is spent, and export unless it was interrupted.

        Args:
            task: what to train.
            folder: for states, log and pictures.
            budget: for all runs together.
            facts: of data and settings; a state made with others is refused.
            export: writes the model from the task.

        Raises:
            TrainingError: the state in the folder belongs to another training.
        """
        outcome = train(
            task,
            folder,
            budget,
            facts=facts,
            rhythm=self.rhythm,
            device=self.device,
            deadline=self.deadline,
            report=self.report,
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


def settings_digest(config: Any) -> str:
    """Return a SHA-256 of settings."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()
