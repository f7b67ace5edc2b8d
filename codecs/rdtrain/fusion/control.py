"""Stage 2: adapter and fusion learn to steer a frozen prior; encoder, entropy model and prior do not move."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rdcodecs.codec import Image
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.renormalize import match_neighbourhoods
from rdcodecs.pixels import to_images, to_tensor
from rdtrain.core.contact_sheet import grid
from rdtrain.core.data import Crops, Order, random_crops, step_generator
from rdtrain.core.precision import mixed_precision
from rdtrain.core.task import Learner
from rdtrain.fusion.enhancement import Enhancement
from rdtrain.fusion.frozen_codec import Conditioning, FrozenCodec
from rdtrain.fusion.settings import FusionTrainConfig
from rdtrain.prior.losses import min_snr_weight
from rdtrain.prior.trajectory import Finish, TrajectoryLoss

_EVALUATED = 48
_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""In the span of noise levels, from its lowest to pure noise."""
_SHOWN = 6
_SHOWN_STEPS = 10


class FusionTask(Learner[Control]):
    """A control in training, by the noise-prediction loss of the prior.

    In the later part of the training pictures can be judged besides (`TrajectoryLoss`).

    Args:
        config: of the training.
        crops: the images.
        device: where to train.
        control: the network to begin with.
        codec: what it steers, and what it is told.
        judge: of pictures, where the settings give that a weight.
        enhancement: of the pictures that are renormalized before they are judged, if any.
    """

    name = "fusion"

    def __init__(
        self,
        config: FusionTrainConfig,
        crops: Crops,
        device: torch.device,
        control: Control,
        codec: FrozenCodec,
        judge: TrajectoryLoss,
        *,
        enhancement: Enhancement | None = None,
    ) -> None:
        self._config = config
        self._enhancement = enhancement
        prior, span = codec.prior, config.shape.span
        for count in (*config.pictures.steps, _SHOWN_STEPS):
            prior.timesteps(count, span)  # says now what does not fit
        self._judge = judge
        self._device = device
        super().__init__(control, device, config, rate=config.learning_rate, weight_decay=1e-3)
        self._codec, self._prior = codec, prior
        self._alphas = prior.alphas_cumprod.to(device)
        self._lowest = prior.train_steps - prior.most_steps(span)
        self._weights = torch.ones_like(self._alphas)
        if config.snr_gamma:
            self._weights = min_snr_weight(self._alphas, config.snr_gamma, prior.prediction_type)
        self._train = crops.train.to(device)
        self._held_out = crops.held_out[:_EVALUATED]
        batch = config.batch or (128 if device.type == "cuda" else 16)
        self._order = Order(len(self._train), batch, config.seed)

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step."""
        config = self._config
        generator = step_generator(config.seed, "fusion", step, self._device)
        batch = random_crops(self._train, self._order(step), min(config.crop, self._train.shape[1]), generator)
        images = batch.float().div_(127.5).sub_(1)
        count = len(images)
        levels = torch.randint(self._codec.levels, (count,), generator=generator, device=self._device)
        clean, told = self._conditioned(images, levels)
        timesteps = torch.randint(self._lowest, len(self._alphas), (count,), generator=generator, device=self._device)
        noise = torch.randn(clean.shape, generator=generator, device=self._device)
        errors = self._errors(self.model, clean, told, timesteps, noise)
        loss = (self._weights[timesteps] * errors).mean()
        shown = {"mse": errors.detach().mean()}
        seen = self._judge.chosen(step, progress, count)
        if seen is not None:
            chosen = told[seen]
            with self._codec.steered(self.model, chosen):
                pictured = self._judge(
                    images[seen], self._prior.denoise, generator, finish=self._finish(chosen, generator)
                )
            loss = loss + pictured
            shown["picture"] = pictured.detach()
        return self.descend(loss, step, progress) | shown

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the prediction error on held-out crops at five noise levels, over all rate levels, and its mean."""
        room = len(self._alphas) - self._lowest
        sums = {self._lowest + round(place * room): 0.0 for place in _PLACES}
        for number, part in enumerate(torch.split(self._held_out, 16)):
            levels = torch.arange(len(part), device=self._device) % self._codec.levels
            clean, told = self._conditioned(to_tensor(part.to(self._device)), levels)
            for timestep in sums:
                generator = step_generator(self._config.seed, f"held out {timestep}", number, self._device)
                noise = torch.randn(clean.shape, generator=generator, device=self._device)
                places = torch.full((len(part),), timestep, device=self._device)
                errors = self._errors(self.average.model, clean, told, places, noise)
                sums[timestep] += float(errors.sum())
        figures = {f"loss_{timestep}": value / len(self._held_out) for timestep, value in sums.items()}
        return figures | {"loss": sum(figures.values()) / len(figures)}

    @torch.no_grad()
    def picture(self) -> Image:
        """Return held-out images, over what ten steps make of them at the lowest, a middle and the highest level."""
        originals = self._held_out[:_SHOWN]
        images = to_tensor(originals.to(self._device))
        size = (images.shape[2], images.shape[3])
        noise = self._prior.noise(size, range(len(originals)))
        last = self._codec.levels - 1
        rows = [originals.numpy()]
        for level in (0, last // 2, last):
            levels = torch.full((len(originals),), level, device=self._device)
            with self._codec.steered(self.average.model, self._conditioned(images, levels)[1]):
                drawn = self._prior.sample(noise, _SHOWN_STEPS, span=self._config.shape.span)
            rows.append(to_images(self._prior.decode(drawn, size)))
        return grid(rows)

    @torch.no_grad()
    def _conditioned(self, images: Tensor, levels: Tensor) -> tuple[Tensor, Conditioning]:
        """Return the prior's latents of images, and what their streams tell."""
        config = self._config
        told = self._codec.condition(images, levels, sketched=config.shape.sketch, pictured=config.renormalized > 0)
        return self._prior.encode(images).float(), told

    def _finish(self, told: Conditioning, generator: torch.Generator) -> Finish | None:
        """Return fidelity enhancement of some of the pictures, of each with the probability that is set, if any is."""
        auxiliary = told.auxiliary
        if auxiliary is None or not self._config.renormalized:
            return None
        renormalized = torch.rand(len(told.levels), generator=generator, device=self._device)
        chosen = (renormalized < self._config.renormalized).reshape(-1, 1, 1, 1)

        def finish(made: Tensor) -> Tensor:
            if self._enhancement is None:
                changed = match_neighbourhoods(made, auxiliary, self._codec.windows(told))
            else:
                changed = self._enhancement(made, auxiliary, told.latents, told.levels)
            return torch.where(chosen, changed, made)

        return finish

    def _errors(self, control: Control, clean: Tensor, told: Conditioning, timesteps: Tensor, noise: Tensor) -> Tensor:
        """Return each image's mean squared error of what the prior predicts, shape (N,)."""
        alpha = self._alphas[timesteps].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        velocity = self._prior.prediction_type == "v_prediction"
        wanted = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean if velocity else noise
        with mixed_precision(self._device), self._codec.steered(control, told):
            output = self._prior.denoise(noisy, timesteps)
        return (output.float() - wanted).square().mean(dim=(1, 2, 3))
