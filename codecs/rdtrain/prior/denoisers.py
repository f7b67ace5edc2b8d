"""How good a denoiser the U-Net is, held against the best one that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rdcodecs.prior.model import Prior

EVALUATED_TIMESTEPS = (100, 300, 500, 700, 900)
_NOISE_SEED = 20


@dataclass(frozen=True)
class DenoiserLosses:
    """Mean squared error of the predicted noise at one noise level; the noise itself has variance 1.

    Attributes:
        timestep: the noise level.
        model: the U-Net.
        constant: the best prediction that does not look at the input.
        wiener: the best linear, shift-invariant one.
    """

    timestep: int
    model: float
    constant: float
    wiener: float


def compare_denoisers(
    prior: Prior, train: Tensor, held_out: Tensor, timesteps: Sequence[int] = EVALUATED_TIMESTEPS
) -> list[DenoiserLosses]:
    """Compare the U-Net with a constant predictor and with the Wiener denoiser.

    Args:
        prior: the model.
        train: latents of shape (N, h, w, C), from which the Wiener denoiser gets its power spectrum.
        held_out: latents of shape (M, h, w, C), on which all are compared, with the same noise.
        timesteps: noise levels.
    """
    model = noise_prediction_losses(prior, held_out, timesteps)
    wiener = WienerDenoiser(train.permute(0, 3, 1, 2))
    results = []
    for timestep in timesteps:
        clean, noise = _clean_and_noise(held_out, timestep)
        alpha = float(prior.alphas_cumprod[timestep])
        noisy = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise
        guess = wiener.noise(noisy, alpha)
        results.append(
            DenoiserLosses(
                timestep,
                model[timestep],
                constant=float(noise.var(unbiased=False)),
                wiener=float((guess - noise).square().mean()),
            )
        )
    return results


@torch.inference_mode()
def noise_prediction_losses(
    prior: Prior, latents: Tensor, timesteps: Sequence[int] = EVALUATED_TIMESTEPS, batch: int = 16
) -> dict[int, float]:
    """Return the U-Net's mean squared error of the predicted noise, by noise level.

    Args:
        prior: the model.
        latents: clean, shape (N, h, w, C).
        timesteps: noise levels.
        batch: latents to a pass.
    """
    losses = {}
    for timestep in timesteps:
        clean, noise = _clean_and_noise(latents, timestep)
        total = 0.0
        for part, drawn in zip(torch.split(clean, batch), torch.split(noise, batch), strict=True):
            noisy = prior.add_noise(part, drawn, timestep)
            output = prior.denoise(noisy.to(prior.device, prior.dtype), timestep)
            guess = prior.split(output.float(), noisy.to(output.device), timestep)[1]
            total += float((guess - drawn.to(guess)).square().sum())
        losses[timestep] = total / noise.numel()
    return losses


class WienerDenoiser:
    """The best linear shift-invariant denoiser, from the latents' mean and their cross-spectral density.

    For noisy = sqrt(a)·clean + sqrt(1-a)·noise, the noise's linear estimate at each spatial frequency f is
    sqrt(1-a)·(a·S(f) + (1-a)·I)^-1·(noisy(f) - sqrt(a)·mean(f)), S(f) being the C x C spectral matrix. It uses
    the correlation between channels too, and so is a stronger opponent than a filter for each channel.

    Args:
        latents: shape (N, C, h, w).
    """

    def __init__(self, latents: Tensor) -> None:
        clean = latents.double().cpu()
        self._mean = clean.mean(dim=(0, 2, 3), keepdim=True)
        spectrum = torch.fft.fft2(clean - self._mean, norm="ortho").permute(2, 3, 1, 0)
        self._density = spectrum @ spectrum.mH / len(clean)

    def noise(self, noisy: Tensor, alpha: float) -> Tensor:
        """Return the estimate of the noise in latents of shape (N, C, h, w) at a cumulative product `alpha`."""
        centred = noisy.double().cpu() - alpha**0.5 * self._mean
        identity = torch.eye(self._density.shape[-1], dtype=self._density.dtype)
        filters = (1 - alpha) ** 0.5 * torch.linalg.inv(alpha * self._density + (1 - alpha) * identity)
        spectrum = torch.fft.fft2(centred, norm="ortho").permute(2, 3, 1, 0)
        guess: Tensor = torch.fft.ifft2((filters @ spectrum).permute(3, 2, 0, 1), norm="ortho").real
        return guess.to(noisy)


def _clean_and_noise(latents: Tensor, timestep: int) -> tuple[Tensor, Tensor]:
    clean = latents.permute(0, 3, 1, 2).float().cpu()
    generator = torch.Generator().manual_seed(_NOISE_SEED + timestep)
    return clean, torch.randn(clean.shape, generator=generator)
