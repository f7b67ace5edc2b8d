"""The training: a U-Net learns to draw what a few indices tell it, and hyper-encoders learn what to tell."""

from collections.abc import Mapping

import torch
from torch import Tensor

from rdcodecs.codec import Image
from rdcodecs.digests import network_digest
from rdcodecs.perco.quantizer import Quantised
from rdcodecs.perco.unet import local_features
from rdcodecs.pixels import to_images
from rdcodecs.prior import Prior
from rdtrain.core.contact_sheet import grid
from rdtrain.core.data import Order, random_crops, step_generator
from rdtrain.core.precision import mixed_precision
from rdtrain.core.task import Learner
from rdtrain.perco.codebook import begin, follow, perplexity, revive
from rdtrain.perco.network import PerCoNetwork
from rdtrain.perco.settings import PerCoTrainConfig
from rdtrain.prior.latents import Latents
from rdtrain.prior.trajectory import TrajectoryLoss

_EVALUATED = 48
_TIMESTEPS = (100, 300, 500, 700, 900)
_SHOWN = 6
_SHOWN_STEPS = 10


class PerCoTask(Learner[PerCoNetwork]):
    """PerCo in training: squared error of the prior's prediction target, at all rate points alike.

    Each image of a batch is coded at one rate point, all points in turn. The text is the prior's "no text": training
    images have no captions, so that only a prior that was fine-tuned elsewhere can be steered by text. In the later
    part pictures can be judged besides (`TrajectoryLoss`); the reference judges what is predicted from noised true
    images.

    Args:
        config: of the training.
        latents: of the images.
        device: where to train.
        network: to begin with.
        prior: the model that it begins from, in float32, on the device; its U-Net is replaced by the trained one.
        judge: of pictures, where the settings give that a weight.

    Attributes:
        latents: of the images.
        prior: with the averaged U-Net in training.
        origin: SHA-256 of the U-Net that it begins from.
    """

    name = "perco"

    def __init__(
        self,
        config: PerCoTrainConfig,
        latents: Latents,
        device: torch.device,
        network: PerCoNetwork,
        prior: Prior,
        judge: TrajectoryLoss,
    ) -> None:
        self._config = config
        self._device = device
        self.latents = latents
        super().__init__(network, device, config, rate=config.learning_rate, weight_decay=1e-3)
        self.origin = network_digest(prior.unet)
        # Pictures are drawn with the averaged weights, which this object shares.
        prior.unet = self.average.model.unet
        self.prior = prior
        self._judge = judge
        self._alphas = prior.alphas_cumprod.to(device)
        self._held_out = latents.held_out[:_EVALUATED].permute(0, 3, 1, 2)
        self._batch = config.batch or (160 if device.type == "cuda" else 16)
        self._order = Order(len(latents.train), self._batch, config.seed)
        self._begun: set[int] = set()  # so that the device is not asked at every step

    @property
    def levels(self) -> int:
        """Number of rate points."""
        return len(self.model.points)

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step."""
        config = self._config
        generator = step_generator(config.seed, "perco", step, self._device)
        side = min(config.crop, *self.latents.train.shape[1:3])
        clean = random_crops(self.latents.train, self._order(step), side, generator, mirror=False)
        levels = (torch.arange(self._batch) + step * self._batch) % self.levels
        timesteps = torch.randint(len(self._alphas), (len(clean),), generator=generator, device=self._device)
        noise = torch.randn(clean.shape, generator=generator, device=self._device)
        self._begin(clean, levels, generator)
        # Quantised in full precision: near ties decide which entry is chosen.
        features, quantised = self.model.quantise(clean, levels)
        errors = self._errors(self.model, clean, features, timesteps, noise)
        distance = torch.stack([each.distance for each in quantised.values()]).mean()
        loss = errors.mean() + config.commitment * distance
        shown = {"mse": errors.detach().mean(), "distance": distance.detach()}
        seen = self._judge.chosen(step, progress, len(clean))
        if seen is not None:
            pictured = self._pictured(clean[seen], features[seen], generator)
            loss = loss + pictured
            shown["picture"] = pictured.detach()
        log = self.descend(loss, step, progress)
        return log | shown | self._move_codebooks(quantised, progress, generator)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return figures on held-out crops: the prediction error and the codebook's use at every rate point.

        ``loss_L`` is the mean error over five noise levels, each image at one of them, ``perplexity_L`` that of the
        indices, ``used_L`` the share of entries that occur at all.
        """
        figures: dict[str, float] = {}
        generator = step_generator(self._config.seed, "held out", 0, self._device)
        noise = torch.randn(self._held_out.shape, generator=generator, device=self._device)
        timesteps = torch.tensor(_TIMESTEPS, device=self._device).repeat(len(noise))[: len(noise)]
        for level, encoder in enumerate(self.average.model.points):
            counts = torch.zeros(encoder.config.codebook_size, device=self._device)
            total = torch.zeros((), device=self._device)
            for part in torch.split(torch.arange(len(noise), device=self._device), 16):
                clean = self._held_out[part]
                features, quantised = self.average.model.quantise(clean, torch.full((len(part),), level))
                counts += torch.bincount(quantised[level].indices.reshape(-1), minlength=len(counts))
                errors = self._errors(self.average.model, clean, features, timesteps[part], noise[part])
                total += errors.sum()
            figures[f"loss_{level}"] = float(total) / len(noise)
            figures[f"perplexity_{level}"] = float(perplexity(counts))
            figures[f"used_{level}"] = float((counts > 0).float().mean())
        losses = [value for name, value in figures.items() if name.startswith("loss_")]
        return figures | {"loss": sum(losses) / len(losses)}

    @torch.no_grad()
    def picture(self) -> Image:
        """Return held-out crops as the autoencoder has them, over what ten steps make of them at every rate point."""
        clean = self._held_out[:_SHOWN]
        side = clean.shape[2] * self.prior.stride
        noise = self.prior.noise((side, side), range(len(clean)))
        rows = [to_images(self.prior.decode(clean))]
        for level in range(self.levels):
            features, _ = self.average.model.quantise(clean, torch.full((len(clean),), level))
            with local_features(self.prior.unet, features):
                rows.append(to_images(self.prior.decode(self.prior.sample(noise, _SHOWN_STEPS))))
        return grid(rows)

    @torch.no_grad()
    def _begin(self, clean: Tensor, levels: Tensor, generator: torch.Generator) -> None:
        """Fit the quantisers that are seen for the first time."""
        for level in sorted(set(levels.tolist()) - self._begun):
            self._begun.add(level)
            encoder = self.model.points[level]
            if not bool(encoder.quantizer.codebook.initted.any()):
                begin(encoder.quantizer, encoder.analyse(clean[(levels == level).to(clean.device)]), generator)

    def _move_codebooks(
        self, quantised: Mapping[int, Quantised], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        figures = {}
        for level, made in quantised.items():
            codebook = self.model.points[level].quantizer.codebook
            points = made.points.detach().flatten(0, 2)
            follow(codebook, points, made.indices.reshape(-1), self._config.codebook_decay)
            figures[f"perplexity_{level}"] = perplexity(codebook.cluster_size[0])
            if progress < self._config.revive_until:
                figures[f"revived_{level}"] = revive(codebook, points, self._config.dead_share, generator).float()
        return figures

    def _errors(
        self, network: PerCoNetwork, clean: Tensor, features: Tensor, timesteps: Tensor, noise: Tensor
    ) -> Tensor:
        """Return each latent's mean squared error, shape (N,)."""
        alpha = self._alphas[timesteps].reshape(-1, 1, 1, 1)
        signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
        noisy = signal * clean + sigma * noise
        with mixed_precision(self._device):
            output = network.denoise(noisy, timesteps, features, self.prior.null_embedding).float()
        # Salimans and Ho 2022, appendix D.
        wanted = signal * noise - sigma * clean if self.prior.prediction_type == "v_prediction" else noise
        return (output - wanted).square().mean(dim=(1, 2, 3))

    def _pictured(self, clean: Tensor, features: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss on pictures, which are wanted as the autoencoder has them."""

        def denoise(noisy: Tensor, timestep: int) -> Tensor:
            places = torch.full((len(noisy),), timestep, device=self._device)
            return self.model.denoise(noisy, places, features, self.prior.null_embedding)

        with torch.no_grad(), mixed_precision(self._device):
            wanted = self.prior.decode(clean).clamp(-1, 1).float()
        return self._judge(wanted, denoise, generator)
