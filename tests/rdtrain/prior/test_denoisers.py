import torch

from rdcodecs.prior import Prior
from rdtrain.prior.denoisers import WienerDenoiser, compare_denoisers, noise_prediction_losses
from small_models import make_unet, make_vae, scheduler_values


def test_wiener_on_white_latents_is_the_closed_form() -> None:
    """For independent samples of variance s the error is a·s / (a·s + 1 - a)."""
    generator = torch.Generator().manual_seed(0)
    clean = 1.5 * torch.randn(400, 2, 8, 8, generator=generator) + torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1)
    noise = torch.randn(clean.shape, generator=generator)
    denoiser = WienerDenoiser(clean)
    for alpha in (0.9, 0.5, 0.1):
        guess = denoiser.noise(alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise, alpha)
        wanted = alpha * 2.25 / (alpha * 2.25 + 1 - alpha)
        assert abs(float((guess - noise).square().mean()) - wanted) < 0.02 * wanted


def test_wiener_uses_correlation_in_space_and_between_channels() -> None:
    generator = torch.Generator().manual_seed(1)
    white = torch.randn(200, 1, 16, 16, generator=generator)
    smooth = (white + white.roll(1, -1) + white.roll(1, -2) + white.roll((1, 1), (-2, -1))) / 2
    clean = torch.cat([smooth, smooth], dim=1)
    noise = torch.randn(clean.shape, generator=generator)
    noisy = (clean + noise) / 2**0.5
    error = float((WienerDenoiser(clean).noise(noisy, 0.5) - noise).square().mean())
    # By the eigenvalues of the spectral matrix: 2·S(f) with S(f) = 4·cos²(u/2)·cos²(v/2), and 0.
    angle = torch.arange(16) * torch.pi / 16
    power = 2 * 4 * angle.cos().square()[:, None] * angle.cos().square()[None, :]
    wanted = float((power / (power + 1)).mean()) / 2
    assert abs(error - wanted) < 0.03 * wanted
    assert error < 0.4  # one that looked at each sample alone would be at 0.5


def test_the_losses_are_those_of_the_unets_output() -> None:
    prior = Prior(make_vae(), make_unet(), scheduler_values("epsilon"))
    # A network that always answers 0 misses the noise by the noise's own power.
    torch.nn.init.zeros_(prior.unet.conv_out.weight)
    torch.nn.init.zeros_(prior.unet.conv_out.bias)
    latents = torch.randn(20, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    rows = compare_denoisers(prior, latents, latents[:10], timesteps=(100, 900))
    losses = noise_prediction_losses(prior, latents[:10], (100, 900), batch=3)
    for row in rows:
        assert abs(row.model - losses[row.timestep]) < 1e-6
        assert abs(row.model - row.constant) < 0.01
        assert row.wiener < row.constant
