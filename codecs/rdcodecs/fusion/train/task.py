"""Stage 2: adapter and fusion learn to steer a frozen prior; encoder, entropy model and prior do not move."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.codec import Image
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.train.config import FusionTrainConfig
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.pixels import to_images, to_tensor
from rdcodecs.prior import Prior
from rdcodecs.prior.features import edit_features
from rdcodecs.prior.train.losses import Perceptual, min_snr_weight
from rdcodecs.prior.train.walk import draw_walk, predict_at_end
from rdcodecs.training.data import Crops, Order, random_crops, step_generator
from rdcodecs.training.learner import Learner
from rdcodecs.training.pictures import grid
from rdcodecs.training.task import mixed_precision

_EVALUATED = 48
_TIMESTEPS = (100, 300, 500, 700, 900)
_SHOWN = 6
_SHOWN_STEPS = 10


class FusionTask(Learner[Control]):
    """A control in training, by the noise-prediction loss of the prior.

    In the later part of the training pictures can be judged besides, which is our choice: DDIM runs from noise to one
    of its steps, without gradients, and what the prior takes the clean latents for there is decoded and compared with
    the source. So the control learns on what its own sampling gives it, not only on noised latents of true images.

    Args:
        config: of the training.
        crops: the images.
        device: where to train.
        control: the network to begin with.
        prior: frozen, in float32, on the device.
        hyperprior: frozen, on the device.
        perceptual: distance of pictures, for a `perceptual_weight` above 0.
    """

    name = "fusion"

    def __init__(
        self,
        config: FusionTrainConfig,
        crops: Crops,
        device: torch.device,
        control: Control,
        prior: Prior,
        hyperprior: TrainedHyperprior,
        *,
        perceptual: Perceptual | None = None,
    ) -> None:
        self._config = config
        self._perceptual = perceptual
        self._device = device
        super().__init__(control, device, config, rate=config.learning_rate, weight_decay=1e-3)
        self._prior, self._hyperprior = prior, hyperprior
        self._alphas = prior.alphas_cumprod.to(device)
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
        levels = torch.randint(self._hyperprior.config.levels, (count,), generator=generator, device=self._device)
        clean, latents = self._latents(images, levels)
        timesteps = torch.randint(len(self._alphas), (count,), generator=generator, device=self._device)
        noise = torch.randn(clean.shape, generator=generator, device=self._device)
        errors = self._errors(self.model, clean, latents, levels, timesteps, noise)
        loss = (self._weights[timesteps] * errors).mean()
        shown = {"mse": errors.detach().mean()}
        if config.perceptual_weight and progress >= config.perceptual_from:
            seen = slice(config.perceptual_images)
            pictured = self._picture_loss(images[seen], latents[seen], levels[seen], generator)
            loss = loss + config.perceptual_weight * pictured
            shown["picture"] = pictured.detach()
        return self.descend(loss, step, progress) | shown

    def _picture_loss(self, images: Tensor, latents: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the distance between sources and the pictures that are predicted somewhere on the sampler's way."""
        timesteps = draw_walk(self._prior, self._config.perceptual_steps, generator)
        size = (images.shape[2], images.shape[3])
        latent_size = self._prior.latent_size(size)
        shape = (len(images), self._prior.channels, *latent_size)
        noise = torch.randn(shape, generator=generator, device=self._device)
        with mixed_precision(self._device):
            prepared: dict[str, Any] = self.model.prepare(latents, levels, latent_size)
            with edit_features(self._prior.unet, self.model.edits(prepared)):
                clean = predict_at_end(self._prior, self._prior.denoise, noise, timesteps)
            made = self._prior.decode(clean, size).float()
        loss = self._config.pixel_weight * functional.l1_loss(made, images)
        return loss if self._perceptual is None else loss + self._perceptual(made, images).mean()

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return the prediction error on held-out crops at five noise levels, over all rate levels, and its mean."""
        sums = dict.fromkeys(_TIMESTEPS, 0.0)
        for number, part in enumerate(torch.split(self._held_out, 16)):
            levels = torch.arange(len(part), device=self._device) % self._hyperprior.config.levels
            clean, latents = self._latents(to_tensor(part.to(self._device)), levels)
            for timestep in _TIMESTEPS:
                generator = step_generator(self._config.seed, f"held out {timestep}", number, self._device)
                noise = torch.randn(clean.shape, generator=generator, device=self._device)
                places = torch.full((len(part),), timestep, device=self._device)
                errors = self._errors(self.average.model, clean, latents, levels, places, noise)
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
        last = self._hyperprior.config.levels - 1
        rows = [originals.numpy()]
        for level in (0, last // 2, last):
            levels = torch.full((len(originals),), level, device=self._device)
            prepared = self.average.model.prepare(
                self._latents(images, levels)[1], levels, self._prior.latent_size(size)
            )
            with edit_features(self._prior.unet, self.average.model.edits(prepared)):
                drawn = self._prior.sample(noise, _SHOWN_STEPS)
            rows.append(to_images(self._prior.decode(drawn, size)))
        return grid(rows)

    @torch.no_grad()
    def _latents(self, images: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prior's latents of images, and the hyperprior's decoded ones with their gain undone."""
        network, coder = self._hyperprior.network, self._hyperprior.coder
        made, hyper = (tensor.cpu().numpy() for tensor in network.encode(images, levels))
        decoded = [coder.rounded(*item) for item in zip(made, hyper, levels.tolist(), strict=True)]
        restored = network.restore(torch.stack([torch.from_numpy(item) for item in decoded]).to(self._device), levels)
        return self._prior.encode(images).float(), restored

    def _errors(
        self, control: Control, clean: Tensor, latents: Tensor, levels: Tensor, timesteps: Tensor, noise: Tensor
    ) -> Tensor:
        """Return each image's mean squared error of what the prior predicts, shape (N,)."""
        alpha = self._alphas[timesteps].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        velocity = self._prior.prediction_type == "v_prediction"
        wanted = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean if velocity else noise
        with mixed_precision(self._device):
            prepared: dict[str, Any] = control.prepare(latents, levels, (clean.shape[2], clean.shape[3]))
            with edit_features(self._prior.unet, control.edits(prepared)):
                output = self._prior.denoise(noisy, timesteps)
        return (output.float() - wanted).square().mean(dim=(1, 2, 3))
