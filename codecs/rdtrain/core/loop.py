"""The training loop: budget, schedule, log, states, and a clean end whatever ends it."""

import enum
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from rdtrain.core.errors import TrainingError
from rdtrain.core.log import TrainLog
from rdtrain.core.precision import fast_products
from rdtrain.core.state import State, load_state, save_state
from rdtrain.core.task import Task

_SECONDS = "seconds"
"""Spent: the one fact of a state that is not the caller's."""


class Outcome(enum.Enum):
    """How a training ended."""

    FINISHED = "finished"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Budget:
    """How long a part is trained, over all runs together.

    Attributes:
        steps: its number of steps; the schedule is laid over them, and a resumed training is exact.
        minutes: its time; the schedule is laid over it.

    Raises:
        TrainingError: not exactly one of the two is given, or it is not positive.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.steps, self.minutes) if value is not None]
        if len(given) != 1 or given[0] <= 0:
            raise TrainingError("give a budget: a number of steps or of minutes, above 0")

    def progress(self, step: int, seconds: float) -> float:
        """Return the share of the training that is done, 1 or more where it is over."""
        if self.steps is not None:
            return step / self.steps
        return seconds / (60 * (self.minutes or 1))


@dataclass(frozen=True)
class Rhythm:
    """How often something happens beside the steps.

    Attributes:
        log_steps: steps that are averaged to a line of the log.
        look_seconds: between evaluations and pictures.
        save_seconds: between states.
        shard_mib: largest file of a state.
    """

    log_steps: int = 50
    look_seconds: float = 300
    save_seconds: float = 300
    shard_mib: float = 512


@dataclass(frozen=True)
class Report:
    """What the loop says after each line of the log.

    Attributes:
        part: "vae" or "unet".
        step: steps done.
        progress: share of the training done.
        seconds_left: estimated time until it is over.
        values: that were logged.
    """

    part: str
    step: int
    progress: float
    seconds_left: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """Where and how one run of a training goes; none of it decides the outcome but for rounding.

    Attributes:
        out: the training's folder.
        device: where to train.
        rhythm: how often to log, look and save.
        compiled: compile the networks (worth it on a GPU).
        deadline: value of `time.monotonic` at which to pause.
        report: called after each line of the log.
    """

    out: Path
    device: torch.device
    rhythm: Rhythm
    compiled: bool = False
    deadline: float | None = None
    report: Callable[[Report], None] = lambda _report: None

    @property
    def model(self) -> Path:
        """Folder of the exported model."""
        return self.out / "model"


def train(
    task: Task, folder: Path, budget: Budget, run: Run, facts: Mapping[str, str], begin: Callable[[], None]
) -> Outcome:
    """Train a part until its budget is spent, from where the folder's last state left it.

    SIGTERM and Ctrl-C end it after the step at hand, with everything saved.

    Args:
        task: what to train.
        folder: for states and log.
        budget: for all runs together.
        run: where and how.
        facts: what the training depends on; a state made with others is refused.
        begin: called once nothing is left to refuse.

    Raises:
        TrainingError: the state in the folder is damaged or belongs to another training, or the loss is not finite.
    """
    state = load_state(folder, run.device)
    step, spent = 0, 0.0
    if state is not None:
        # What only one of the two names is a difference too.
        for name in {**facts, **state.facts}:
            if name != _SECONDS and state.facts.get(name) != facts.get(name):
                raise TrainingError(
                    f"the training in '{folder}' was begun with different {name}: give the same again, or use another "
                    "folder"
                )
        task.load(state.tensors)
        step, spent = state.step, float(state.facts[_SECONDS])
    begin()
    log = TrainLog(folder, step)
    clock = _Clock(spent)
    saved = looked = clock.seconds
    seen = -1
    logged: dict[str, list[torch.Tensor]] = {}

    def look() -> None:
        log.values("held_out", step, clock.seconds, task.evaluate())
        log.picture(step, task.picture())

    def save() -> None:
        save_state(
            folder,
            State(step, {**facts, _SECONDS: clock.seconds}, task.tensors()),
            shard_mib=run.rhythm.shard_mib,
        )

    first = step
    try:
        with _stop_signals() as stopped, fast_products():
            while True:
                progress = budget.progress(step, clock.seconds)
                over = progress >= 1
                pause = stopped() or (run.deadline is not None and time.monotonic() >= run.deadline)
                if over or pause:
                    break
                for name, scalar in task.step(step, progress).items():
                    logged.setdefault(name, []).append(scalar)
                step += 1
                if step % run.rhythm.log_steps == 0:
                    means = {name: float(torch.stack(values).mean()) for name, values in logged.items()}
                    logged = {}
                    log.values("train", step, clock.seconds, means)
                    run.report(_report(task.name, step, first, clock, budget, means))
                if clock.seconds - looked > run.rhythm.look_seconds:
                    look()
                    looked, seen = clock.seconds, step
                if clock.seconds - saved > run.rhythm.save_seconds:
                    save()
                    saved = clock.seconds
            if step > first:
                # Before the pictures: whoever asked it to stop may not wait for long.
                save()
                if seen != step and (over or not stopped()):
                    look()
            if stopped() and not over:
                return Outcome.INTERRUPTED
            return Outcome.FINISHED if over else Outcome.PAUSED
    finally:
        log.close()


class _Clock:
    """Counts the seconds of all runs together."""

    def __init__(self, before: float) -> None:
        self._start = time.monotonic() - before
        self.before = before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def _report(part: str, step: int, first: int, clock: _Clock, budget: Budget, values: Mapping[str, float]) -> Report:
    progress = budget.progress(step, clock.seconds)
    if budget.steps is not None:
        left = (clock.seconds - clock.before) / (step - first) * (budget.steps - step)
    else:
        left = 60 * (budget.minutes or 0) - clock.seconds
    return Report(part, step, min(progress, 1.0), max(left, 0.0), values)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Give out a function that says whether SIGINT or SIGTERM has come. A second one acts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
