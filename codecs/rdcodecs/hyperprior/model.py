"""Encoder, entropy model and auxiliary decoder as one network, for every rate level at once."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.hyperprior.config import HYPER_STRIDE, STRIDE, HyperpriorConfig
from rdcodecs.hyperprior.context import Context, partition
from rdcodecs.hyperprior.likelihood import FactorisedPrior, gaussian_bits, scale_at
from rdcodecs.hyperprior.transforms import Analysis, HyperAnalysis, HyperSynthesis, SketchDecoder, Synthesis
from rdcodecs.pixels import pad_to_multiple

_LARGEST_MEAN = 255.0


@dataclass(frozen=True)
class Estimate:
    """What a training step is judged by.

    Attributes:
        images: shape (N, 3, H, W), of the auxiliary decoder.
        bits: of each image, shape (N,): the entropy model's own estimate.
        latents: decoded, after the inverse gain, shape (N, M, h, w).
    """

    images: Tensor
    bits: Tensor
    latents: Tensor


@dataclass(frozen=True)
class LatentDistribution:
    """Latents, how they are distributed, and what is coded of them, all of shape (N, M, h, w).

    Attributes:
        latents: with their gain, not rounded.
        means: of their distributions.
        places: of the standard deviations in the scale table.
        symbols: what is coded, whole numbers, with the gradient of the latents less their means.
    """

    latents: Tensor
    means: Tensor
    places: Tensor
    symbols: Tensor

    @property
    def decoded(self) -> Tensor:
        """What the decoder will have."""
        return self.symbols + self.means

    def bits(self, generator: torch.Generator | None = None) -> Tensor:
        """Return the bits of each latent; `generator` as for `Hyperprior.forward`."""
        coded = self.symbols if generator is None else _noisy(self.latents - self.means, generator)
        return gaussian_bits(coded, scale_at(self.places))


class Hyperprior(nn.Module):
    """A rate-conditioned mean-scale hyperprior codec.

    Rate levels act through gains of each latent channel, applied before rounding and undone after it by gains of
    their own (Cui et al. 2021, "Asymmetric gained deep image compression with continuous rate adaptation"), and
    through scales and shifts in both transforms.

    Args:
        config: shape of the model.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.context = Context(config) if config.context_width else None
        self.sketch = SketchDecoder(config) if config.sketch_channels else None
        self.prior = FactorisedPrior(config.levels, config.hyper_channels)
        # From coarse to fine: without it every level would begin with the same rate.
        start = torch.linspace(-1.5, 1.5, config.levels)[:, None].repeat(1, config.latent_channels)
        self.log_gain = nn.Parameter(start)
        self.log_inverse_gain = nn.Parameter(-start.clone())
        self.rounding_excess: Tensor
        self.register_buffer("rounding_excess", torch.tensor(config.rounding_excess), persistent=False)

    def encode(self, images: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents and hyper-latents, neither rounded.

        Args:
            images: shape (N, 3, H, W) in [-1, 1], of any size: padded to multiples of 16.
            levels: shape (N,).

        Returns:
            Shapes (N, M, h, w) with h = ceil(H / 16), and (N, C, ceil(h / 4), ceil(w / 4)).
        """
        latents = self.analysis(pad_to_multiple(images, STRIDE), levels)
        latents = latents * self.log_gain[levels].exp()[:, :, None, None]
        return latents, self.hyper_analysis(pad_to_multiple(latents, HYPER_STRIDE))

    def restore(self, latents: Tensor, levels: Tensor) -> Tensor:
        """Return decoded latents with their gain undone: what decoders work on. Shapes as in `encode`."""
        return latents * self.log_inverse_gain[levels].exp()[:, :, None, None]

    def forward(self, images: Tensor, levels: Tensor, generator: torch.Generator | None = None) -> Estimate:
        """Estimate what images cost, and decode them.

        With noise in place of rounding (Ballé et al. 2017) the rate has a gradient at every latent, but where nearly
        all of them are zero it is several times what coding takes, and its optimum is another.

        Args:
            images: shape (N, 3, H, W) in [-1, 1].
            levels: shape (N,).
            generator: of the noise, on the images' device; without one latents are rounded for the rate too, with the
                gradient of the identity.
        """
        latents, hyper = self.encode(images, levels)
        coarse = rounded(hyper) if generator is None else _noisy(hyper, generator)
        bits = self.prior(coarse, levels).sum(dim=(1, 2, 3))
        distribution = self.distribution(latents, rounded(hyper), levels)
        bits = bits + distribution.bits(generator).sum(dim=(1, 2, 3))
        restored = self.restore(distribution.decoded, levels)
        made = self.synthesis(restored, levels)[..., : images.shape[2], : images.shape[3]]
        return Estimate(made, bits, restored)

    def distribution(self, latents: Tensor, hyper: Tensor, levels: Tensor) -> LatentDistribution:
        """Return the distributions that latents are coded under, and what is decoded; see `LatentCoder`.

        Args:
            latents: shape (N, M, h, w).
            hyper: whole numbers, shape (N, C, ceil(h / 4), ceil(w / 4)).
            levels: shape (N,).
        """
        raw = self.hyper_synthesis(hyper, levels)[..., : latents.shape[2], : latents.shape[3]]
        excess = self.rounding_excess[levels][:, None, None, None]
        parameters, symbols, known = raw, torch.zeros_like(latents), torch.zeros_like(latents)
        masks = partition(tuple(latents.shape[1:]), context=self.context is not None)
        for step, mask in enumerate(torch.from_numpy(masks).to(latents.device)):
            if step > 0 and self.context is not None:
                told = self.context(step, known, raw, levels)
                parameters = torch.where(mask.repeat(2, 1, 1), told, parameters)
            mean = _mean(parameters)
            symbols = torch.where(mask, rounded(latents - mean, excess), symbols)
            known = torch.where(mask, symbols + mean, known)
        return LatentDistribution(latents, _mean(parameters), parameters.chunk(2, dim=1)[1], symbols)


def rounded(values: Tensor, excess: Tensor | float = 0.0) -> Tensor:
    """Round, with the gradient of the identity: away from zero already where `excess` is short of the half."""
    return values + ((values + values.sign() * excess).round() - values).detach()


def _mean(parameters: Tensor) -> Tensor:
    """Return the means among parameters of shape (N, 2·M, h, w); the rest are places in the scale table."""
    return parameters.chunk(2, dim=1)[0].clamp(-_LARGEST_MEAN, _LARGEST_MEAN)


def _noisy(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return values with noise in [-0.5, 0.5) in place of rounding."""
    return values + torch.rand(values.shape, generator=generator, device=values.device, dtype=values.dtype) - 0.5


def mean_squared_error(made: Tensor, images: Tensor) -> Tensor:
    """Return the error of each image on the scale of 8-bit levels, shape (N,), from values in [-1, 1]."""
    return functional.mse_loss(made, images, reduction="none").mean(dim=(1, 2, 3)) * 127.5**2
