"""A recipe says what is trained, on what, and judged by what; a training carries one out in a folder."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.folder_lock import lock_folder
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget, Outcome, Run, train
from rdtrain.core.record import training_record
from rdtrain.core.settings import keep_settings, settings_digest
from rdtrain.core.state import load_state
from rdtrain.core.task import Task

_T = TypeVar("_T", bound=Task)


class Recipe(ABC, Generic[_T]):
    """All that decides what comes out of a training, but for its budget.

    Attributes:
        states: name of the folder of states, log and pictures, in that of the training.
        config: the settings: a dataclass, of `CommonSettings`.
        crops: the images.
    """

    states: ClassVar[str]
    config: Any
    crops: Crops

    @abstractmethod
    def task(self, run: Run) -> _T:
        """Return the task at its beginning.

        Raises:
            TrainingError: what the recipe names does not go together.
        """

    @abstractmethod
    def ingredients(self, task: _T) -> Mapping[str, str]:
        """Return what tells one training from another besides data and settings, by the names that errors use."""

    @abstractmethod
    def export(self, task: _T, run: Run) -> None:
        """Write the model that the task's averaged weights make, with its record and its card."""

    def facts(self, task: _T) -> dict[str, str]:
        """Return what the training depends on: a state made with other facts is refused."""
        return {"data": self.crops.digest, "settings": settings_digest(self.config), **self.ingredients(task)}

    def record(self, run: Run) -> dict[str, Any]:
        """Return the facts of the training so far, for the model's record and card."""
        return training_record(read_log(run.out / self.states), self.config, self.crops, str(run.device))


@dataclass(frozen=True)
class Training(Generic[_T]):
    """One training in one folder, over any number of runs.

    Attributes:
        recipe: what is trained, on what, and judged by what.
        run: where and how.
    """

    recipe: Recipe[_T]
    run: Run

    def task(self) -> _T:
        """Return the task at its beginning; see `Recipe.task`."""
        return self.recipe.task(self.run)

    def train(self, budget: Budget) -> Outcome:
        """Train until the budget, of all runs together, is spent; export unless it was interrupted.

        Raises:
            TrainingError: what the recipe names does not go together, the state in the folder belongs to another
                training, or one is at work there.
        """
        recipe, run = self.recipe, self.run
        task = self.task()
        folder = run.out / recipe.states
        with lock_folder(folder):
            outcome = train(
                task, folder, budget, run, recipe.facts(task), lambda: keep_settings(run.out, recipe.config)
            )
            if outcome is not Outcome.INTERRUPTED:
                recipe.export(task, run)
        return outcome

    def export(self) -> None:
        """Export the model as its last state has it.

        Raises:
            TrainingError: there is no state.
        """
        task = self.task()
        folder = self.run.out / self.recipe.states
        state = load_state(folder, self.run.device)
        if state is None:
            raise TrainingError(f"nothing has been trained in '{folder}' yet")
        task.load(state.tensors)
        self.recipe.export(task, self.run)


def bring_along(source: Path, target: Path) -> None:
    """Copy the folder of a model that an exported one needs beside it, unless it is there already."""
    if target.resolve() != source.resolve():
        shutil.copytree(source, target, dirs_exist_ok=True)
