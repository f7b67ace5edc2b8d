"""A part of a model in training: what the loop needs of it, and what those that train one network have in common."""

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from rdcodecs.codec import Image
from rdtrain.core.average import Average
from rdtrain.core.muon import Muon
from rdtrain.core.optimization import schedule, update
from rdtrain.core.settings import CommonSettings
from rdtrain.core.state import load_module, load_optimizer, module_tensors, optimizer_tensors

_M = TypeVar("_M", bound=nn.Module)


class Task(Protocol):
    """A part of the model being trained. All randomness of a step follows from the step's number."""

    name: str

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step and return what is logged, as scalars that may still be on the device."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that decides how the training goes on."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set what `tensors` gave."""

    def evaluate(self) -> dict[str, float]:
        """Return figures of the averaged weights on held-out images."""

    def picture(self) -> Image:
        """Return a picture that shows how far it is."""


class Learner(Generic[_M]):
    """Base of a task that trains one network with `Muon`.

    Args:
        model: the network; its parameters that need no gradient stay as they are.
        device: where to train.
        config: warm-up and average.
        rate: peak learning rate; it rises over the warm-up and follows a cosine to nothing.
        weight_decay: of its matrices.

    Attributes:
        model: the network in training.
        average: what is evaluated and exported.
    """

    def __init__(
        self, model: _M, device: torch.device, config: CommonSettings, *, rate: float, weight_decay: float
    ) -> None:
        moved: Any = model
        self.model: _M = moved.to(device, memory_format=torch.channels_last).train()
        self.average: Average[_M] = Average(self.model, config.ema_gamma)
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimizer = Muon(self._trained, weight_decay=weight_decay)
        self._rate = rate
        self._warmup = config.warmup

    def descend(self, loss: Tensor, step: int, progress: float, *, factor: float = 1.0) -> dict[str, Tensor]:
        """Take a step down a loss, and take the weights into the average.

        Args:
            loss: a scalar.
            step: counted from 0.
            progress: of the training, or of the part of it that has a cosine of its own, 0 to 1.
            factor: of the learning rate.

        Returns:
            What is logged: the loss, the gradient's norm, the learning rate.
        """
        torch.autograd.backward(loss)
        rate = factor * self._rate * schedule(progress, step, self._warmup)
        norm = update(self._optimizer, self._trained, rate)
        self.average.update(step)
        return {"loss": loss.detach(), "gradient": norm, "rate": torch.tensor(rate)}

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that decides how the training goes on."""
        return {
            **module_tensors("model", self.model),
            **module_tensors("average", self.average.model),
            **optimizer_tensors("optimizer", self._optimizer),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set what `tensors` gave."""
        load_module("model", self.model, tensors)
        load_module("average", self.average.model, tensors)
        load_optimizer("optimizer", self._optimizer, tensors)
