"""Stage 3: the enhancer learns from pictures that the codec draws; nothing else moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rdcodecs.codec import Image
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.enhancer import Enhancer, EnhancerConfig
from rdcodecs.fusion.renormalize import match_neighbourhoods
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.pixels import to_images, to_tensor
from rdcodecs.prior import Prior
from rdtrain.core.contact_sheet import grid
from rdtrain.core.data import Crops, Order, random_crops, step_generator
from rdtrain.core.learner import Learner
from rdtrain.core.settings import CommonSettings
from rdtrain.core.task import mixed_precision
from rdtrain.fusion.conditioning import Coder
from rdtrain.prior.losses import Perceptual, picture_terms

_EVALUATED, _AT_ONCE = 32, 8
_SHOWN = 6
_STEPS = 5
"""Denoising steps of the pictures that are evaluated and shown."""
_SMALLEST_CROP = 48
"""Pixels: MS-SSIM has five scales."""


@dataclass(frozen=True)
class EnhancerTrainConfig(CommonSettings):
    """What decides a training's outcome, but for data, budget and the frozen models; see `CommonSettings` too.

    Attributes:
        shape: of the enhancer.
        crop: side of the training crops in pixels.
        learning_rate: peak; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 6 on a CPU and 64 on a GPU.
        steps: numbers of denoising steps, of which one is drawn for each step of the training.
        pixel_weight: of the mean absolute error, on [-1, 1].
        perceptual_weight: of the perceptual distance.
        ms_ssim_weight: of 1 - MS-SSIM.
    """

    shape: EnhancerConfig = field(default_factory=EnhancerConfig)
    crop: int = 128
    learning_rate: float = 1e-3
    batch: int = 0
    steps: tuple[int, ...] = (1, 5, 10)
    pixel_weight: float = 1.0
    perceptual_weight: float = 1.0
    ms_ssim_weight: float = 0.5
    warmup: int = 100

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"steps is {list(self.steps)}: numbers of denoising steps, one at least")
        for name, side in (("crop", self.crop), ("store", self.store)):
            if self.ms_ssim_weight and side < _SMALLEST_CROP:
                raise ValueError(f"{name} is {side}: at least {_SMALLEST_CROP}, or ms_ssim_weight must be 0")


PRESETS: dict[str, EnhancerTrainConfig] = {
    "tiny": EnhancerTrainConfig(shape=EnhancerConfig(coarse=64)),
    # Learns nothing much, but goes through everything in seconds.
    "micro": EnhancerTrainConfig(
        shape=EnhancerConfig(fine=8, wide=8, blocks=1, coarse=8), crop=64, batch=2, steps=(1, 2), store=64, warmup=2
    ),
}


class EnhancerTask(Learner[Enhancer]):
    """An enhancer in training, on what the codec draws of crops at rates, seeds and step counts drawn at random.

    Args:
        config: of the training.
        crops: the images.
        device: where to train.
        enhancer: the network to begin with.
        controls: whose pictures it sees, one after another; frozen.
        prior: frozen, in float32, on the device.
        hyperprior: frozen, on the device.
        perceptual: distance of pictures; without one that term is left out.
    """

    name = "enhancer"

    def __init__(
        self,
        config: EnhancerTrainConfig,
        crops: Crops,
        device: torch.device,
        enhancer: Enhancer,
        controls: Sequence[Control],
        prior: Prior,
        hyperprior: TrainedHyperprior,
        *,
        perceptual: Perceptual | None = None,
    ) -> None:
        for control in controls:
            for count in (*config.steps, _STEPS):
                prior.timesteps(count, control.config.span)  # says now what does not fit
        super().__init__(enhancer, device, config, rate=config.learning_rate, weight_decay=1e-3)
        self._config = config
        self._device = device
        self._controls = controls
        self._prior = prior
        self._levels = hyperprior.config.levels
        self._coder = Coder(hyperprior, prior)
        self._perceptual = perceptual
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
        terms = self._terms(made, images)
        loss = torch.stack(list(terms.values())).sum()
        return self.descend(loss, step, progress) | {name: value.detach() for name, value in terms.items()}

    @torch.no_grad()
    def _drawn(
        self, control: Control, images: Tensor, levels: Tensor, steps: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the codec draws of images, locally renormalized, the auxiliary pictures, and the latents."""
        coded = self._coder(images, levels, sketched=control.config.sketch, pictured=True)
        auxiliary = coded.auxiliary
        assert auxiliary is not None  # noqa: S101 - they were asked for
        shape = (len(images), self._prior.channels, *coded.size)
        noise = torch.randn(shape, generator=generator, device=self._device)
        with mixed_precision(self._device):
            with self._coder.steered(control, coded):
                drawn = self._prior.sample(noise, steps, span=control.config.span)
            pictures = self._prior.decode(drawn, (images.shape[2], images.shape[3])).float()
        return match_neighbourhoods(pictures, auxiliary, self._coder.windows(coded)), auxiliary, coded.latents

    def _terms(self, made: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss, weights included."""
        config = self._config
        return picture_terms(
            made,
            images,
            self._perceptual,
            pixel_weight=config.pixel_weight,
            ms_ssim_weight=config.ms_ssim_weight,
            perceptual_weight=config.perceptual_weight,
        )

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
                terms = self._terms(judged, images)
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
