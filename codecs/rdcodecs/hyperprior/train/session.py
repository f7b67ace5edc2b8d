"""Train a hyperprior in a folder, and export it as the codec reads it."""

from dataclasses import dataclass
from pathlib import Path

import torch

from rdcodecs.hyperprior.codec import FOLDER
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.train.config import HyperpriorTrainConfig
from rdcodecs.hyperprior.train.export import export_hyperprior
from rdcodecs.hyperprior.train.task import HyperpriorTask
from rdcodecs.hyperprior.weights import trainable_hyperprior
from rdcodecs.training.data import Crops
from rdcodecs.training.errors import TrainingError
from rdcodecs.training.log import read_log
from rdcodecs.training.record import record_and_card, training_record
from rdcodecs.training.session import Run, Session, settings_digest

_ABOUT = (
    "Encoder, entropy model and auxiliary decoder, trained for squared error at all rate levels at once: stage 1 of "
    "the codec `fusion`, and the codec `hyperprior` by itself. Transforms in fp16; what entropy coding rests on in "
    "integers. The curve gives estimated bits a pixel and PSNR at every level."
)


@dataclass(frozen=True)
class HyperpriorSession(Session[HyperpriorTask]):
    """One training in one folder, over any number of runs.

    Attributes:
        out: its folder. ``stage-1/`` gets states, log and pictures, ``model/hyperprior/`` the exported model.
        config: what is trained.
        crops: the images.
        run: where and how.
        start: folder of a hyperprior to go on from, of the shape that the settings name.
    """

    out: Path
    config: HyperpriorTrainConfig
    crops: Crops
    run: Run
    start: Path | None = None

    @property
    def _states(self) -> Path:
        return self.out / "stage-1"

    def _facts(self, task: HyperpriorTask) -> dict[str, str]:
        return {"data": self.crops.digest, "settings": settings_digest(self.config)}

    def _write(self, task: HyperpriorTask) -> None:
        folder = self.out / "model" / FOLDER
        export_hyperprior(task.average.model, self.crops.train, folder)
        facts = training_record(read_log(self._states), self.config, self.crops, str(self.run.device))
        record_and_card(folder, facts, "A hyperprior codec", _ABOUT)

    def _task(self) -> HyperpriorTask:
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            model = Hyperprior(self.config.model) if self.start is None else trainable_hyperprior(self.start)
        if model.config != self.config.model:
            raise TrainingError(f"'{self.start}' has another shape than the settings: {model.config}")
        return HyperpriorTask(self.config, self.crops, self.run.device, model, compiled=self.run.compiled)
