"""Train an enhancer in a folder, for a codec that is there, and export it beside that codec's weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from rdcodecs.digests import network_digest
from rdcodecs.fusion.codec import FOLDER
from rdcodecs.fusion.config import KINDS, Kind
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.enhancer import Enhancer
from rdcodecs.fusion.weights import ENHANCER, load_control, make_enhancer, save_enhancer, trainable_enhancer
from rdcodecs.hyperprior.codec import FOLDER as HYPERPRIOR
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.prior import Prior
from rdtrain.core.data import Crops
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.record import record_and_card, training_record
from rdtrain.core.session import Run, Session, bring_along, settings_digest
from rdtrain.fusion.enhancer import EnhancerTask, EnhancerTrainConfig
from rdtrain.prior.losses import Perceptual, perceptual_digest

_ABOUT = (
    "Fidelity enhancement of the codec `fusion`, trained (stage 3) on what it draws, with every kind of fusion that "
    "was there, for the autoencoder and the hyperprior that `config.json` names by the SHA-256 of their weights; "
    "nothing of these moved. fp16. The curve gives the terms of the loss at five denoising steps, mean over all "
    "rate levels, after the enhancer and (unenhanced) before it."
)


def read_controls(weights: Path, prior: Prior, hyperprior: TrainedHyperprior) -> dict[Kind, Control]:
    """Return the controls that a folder of weights has, by kind.

    Raises:
        TrainingError: it has none.
        CodecError: one was trained for another prior or hyperprior.
    """
    folders = {kind: weights / FOLDER / kind for kind in KINDS}
    found = {kind: load_control(path, prior, hyperprior)[0] for kind, path in folders.items() if path.is_dir()}
    if not found:
        raise TrainingError(f"'{weights}' holds no control: train stage 2 first")
    return found


@dataclass(frozen=True)
class EnhancerSession(Session[EnhancerTask]):
    """One training in one folder, over any number of runs.

    Attributes:
        out: its folder. ``stage-3/`` gets states, log and pictures, ``model/`` the exported enhancer
            (``fusion/enhancer/``) beside copies of hyperprior and controls: what the codec takes as its weights.
        config: what is trained.
        crops: the images.
        prior: frozen, in float32, on the device.
        hyperprior: frozen, on the device.
        weights: folder that the hyperprior and the controls are of.
        controls: of `read_controls`.
        run: where and how.
        perceptual: the perceptual loss, if any.
        start: folder of an enhancer to go on from, of the shape that the settings name or without its entry for
            latents.
    """

    out: Path
    config: EnhancerTrainConfig
    crops: Crops
    prior: Prior
    hyperprior: TrainedHyperprior
    weights: Path
    controls: Mapping[Kind, Control]
    run: Run
    perceptual: Perceptual | None = None
    start: Path | None = None

    @property
    def _states(self) -> Path:
        return self.out / "stage-3"

    def _facts(self, task: EnhancerTask) -> dict[str, str]:
        return {
            "data": self.crops.digest,
            "settings": settings_digest(self.config),
            "autoencoder": network_digest(self.prior.vae),
            "hyperprior": self.hyperprior.digest.hex(),
            "controls": " ".join(network_digest(control) for control in self.controls.values()),
            "perceptual loss": perceptual_digest(self.perceptual),
        }

    def _write(self, task: EnhancerTask) -> None:
        model = self.out / "model"
        for part in (HYPERPRIOR, *(f"{FOLDER}/{kind}" for kind in self.controls)):
            bring_along(self.weights / part, model / part)
        folder = model / FOLDER / ENHANCER
        save_enhancer(folder, task.average.model, self.prior, self.hyperprior)
        facts = training_record(read_log(self._states), self.config, self.crops, str(self.run.device))
        record_and_card(folder, facts, "Enhancer of the fusion codec", _ABOUT)

    def _task(self) -> EnhancerTask:
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if self.start is None:
                enhancer = make_enhancer(self.config.shape, self.hyperprior.config)
            else:
                enhancer = self._begun(self.start)
        return EnhancerTask(
            self.config,
            self.crops,
            self.run.device,
            enhancer,
            list(self.controls.values()),
            self.prior,
            self.hyperprior,
            perceptual=self.perceptual,
        )

    def _begun(self, start: Path) -> Enhancer:
        try:
            return trainable_enhancer(start, self.config.shape, self.hyperprior.config)
        except ValueError as error:
            raise TrainingError(str(error)) from error
