"""Stage 3: the enhancer learns from pictures that the codec draws; nothing else moves."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rdcodecs.codec import Image
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.enhancer import Enhancer
from rdcodecs.fusion.renormalize import match_neighbourhoods
from rdcodecs.pixels import to_images, to_tensor
from rdtrain.core.contact_sheet import grid
from rdtrain.core.data import Crops, Order, random_crops, step_generator
from rdtrain.core.picture_distance import PictureDistance
from rdtrain.core.precision import mixed_precision
from rdtrain.core.task import Learner
from rdtrain.fusion.frozen_codec import FrozenCodec
from rdtrain.fusion.settings import EnhancerTrainConfig

_EVALUATED, _AT_ONCE = 32, 8
_SHOWN = 6
_STEPS = 5
"""Denoising steps of the pictures that are evaluated and shown."""


class EnhancerTask(Learner[Enhancer]):
    """An enhancer in training, on what the codec draws of crops at rates, seeds and step counts drawn at random.

    Args:
        config: of the training.
        crops: the images.
        device: where to train.
        enhancer: the network to begin with.
        controls: whose pictures it sees, one after another; frozen.
        codec: what they steer, and what they are told.
        judge: of what it makes.
    """

    name = "enhancer"

    def __init__(
        self,
        config: EnhancerTrainConfig,
        crops: Crops,
        device: torch.device,
        enhancer: Enhancer,
        controls: Sequence[Control],
        codec: FrozenCodec,
        judge: PictureDistance,
    ) -> None:
        for control in controls:
            for count in (*config.steps, _STEPS):
                codec.prior.timesteps(count, control.config.span)  # says now what does not fit
        super().__init__(enhancer, device, config, rate=config.learning_rate, weight_decay=1e-3)
        self._config = config
        self._device = device
        self._controls = controls
        self._codec, self._prior, self._levels = codec, codec.prior, codec.levels
        self._judge = judge
        self._train = crops.train.to(device)
        self._held_out = crops.held_out[:_EVALUATED]
        batch = config.batch or (64 if device.type == "cuda" else 6)
        self._order = Order(len(self._train), batch, config.seed)

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step."""
        config = self._config
        generator = step_generator(config.seed, "enhancer", step, self._device)
        batch = random_crops(self._train, self._order(step), min(config.crop, self._train.shape[1]), generator)
        images = batch.float().div_(127.5).sub_(1)
        levels = torch.randint(self._levels, (len(images),), generator=generator, device=self._device)
        count = config.steps[int(torch.randint(len(config.steps), (1,), generator=generator, device=self._device))]
        drawn = self._drawn(self._controls[step % len(self._controls)], images, levels, count, generator)
        with mixed_precision(self._device):
            made = self.model(*drawn, levels).float()
        terms = self._judge.terms(made, images)
        loss = torch.stack(list(terms.values())).sum()
        return self.descend(loss, step, progress) | {name: value.detach() for name, value in terms.items()}

    @torch.no_grad()
    def _drawn(
        self, control: Control, images: Tensor, levels: Tensor, steps: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the codec draws of images, locally renormalized, the auxiliary pictures, and the latents."""
        told = self._codec.condition(images, levels, sketched=control.config.sketch, pictured=True)
        auxiliary = told.auxiliary
        assert auxiliary is not None  # noqa: S101 - they were asked for
        shape = (len(images), self._prior.channels, *told.size)
        noise = torch.randn(shape, generator=generator, device=self._device)
        with mixed_precision(self._device):
            with self._codec.steered(control, told):
                drawn = self._prior.sample(noise, steps, span=control.config.span)
            pictures = self._prior.decode(drawn, (images.shape[2], images.shape[3])).float()
        return match_neighbourhoods(pictures, auxiliary, self._codec.windows(told)), auxiliary, told.latents

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the loss and its terms on held-out crops over all rate levels, and those of what is handed to it."""
        sums: dict[str, float] = {}
        for number, part in enumerate(torch.split(self._held_out, _AT_ONCE)):
            images = to_tensor(part.to(self._device))
            levels = (_AT_ONCE * number + torch.arange(len(part), device=self._device)) % self._levels
            generator = step_generator(self._config.seed, "held out", number, self._device)
            control = self._controls[number % len(self._controls)]
            drawn = self._drawn(control, images, levels, _STEPS, generator)
            made = self.average.model(*drawn, levels)
            for prefix, judged in (("", made), ("unenhanced_", drawn[0])):
                terms = self._judge.terms(judged, images)
                for name, value in (terms | {"loss": sum(terms.values(), torch.zeros(()))}).items():
                    sums[prefix + name] = sums.get(prefix + name, 0.0) + float(value) * len(part)
        return {name: value / len(self._held_out) for name, value in sums.items()}

    @torch.no_grad()
    def picture(self) -> Image:
        """Return held-out images, over what it is handed of them and makes of that at three rate levels."""
        originals = self._held_out[:_SHOWN]
        images = to_tensor(originals.to(self._device))
        rows = [originals.numpy()]
        last = self._levels - 1
        for level in (0, last // 2, last):
            levels = torch.full((len(originals),), level, device=self._device)
            generator = step_generator(self._config.seed, "shown", level, self._device)
            drawn = self._drawn(self._controls[0], images, levels, _STEPS, generator)
            rows += [to_images(drawn[0]), to_images(self.average.model(*drawn, levels))]
        return grid(rows)
