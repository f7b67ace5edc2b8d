"""Losses of the autoencoder."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.digests import network_digest

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""A differentiable distance of two batches (N, 3, H, W) in [-1, 1], one value an image."""


def perceptual_digest(perceptual: Perceptual | None) -> str:
    """Return what tells one distance from another: a SHA-256 of a network's weights, a function's name, or none."""
    if isinstance(perceptual, nn.Module):
        return network_digest(perceptual)
    return "none" if perceptual is None else getattr(perceptual, "__name__", type(perceptual).__name__)


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), mean over all elements (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def ms_ssim_loss(images: Tensor, reference: Tensor) -> Tensor:
    """Return 1 - MS-SSIM of each image, shape (N,); the window is 11 wide, or as wide as five scales allow.

    Args:
        images: shape (N, 3, H, W) in about [-1, 1], sides at least 48.
        reference: likewise.
    """
    from pytorch_msssim import ms_ssim

    room = (min(images.shape[-2:]) - 1) // 16
    window = min(11, room if room % 2 else room - 1)
    made, true = images.add(1) / 2, reference.add(1) / 2
    value: Tensor = ms_ssim(made, true, data_range=1.0, size_average=False, win_size=window)
    return 1 - value


def picture_terms(
    made: Tensor,
    images: Tensor,
    perceptual: Perceptual | None,
    *,
    pixel_weight: float,
    ms_ssim_weight: float,
    perceptual_weight: float,
) -> dict[str, Tensor]:
    """Return the terms by which pictures are judged, scalars, weights included.

    Args:
        made: shape (N, 3, H, W), about [-1, 1].
        images: wanted, likewise.
        perceptual: without one that term is left out.
        pixel_weight: of the mean absolute error.
        ms_ssim_weight: of 1 - MS-SSIM; 0 leaves it out.
        perceptual_weight: of the perceptual distance.
    """
    terms = {"l1": pixel_weight * functional.l1_loss(made, images)}
    if ms_ssim_weight:
        terms["ms_ssim"] = ms_ssim_weight * ms_ssim_loss(made, images).mean()
    if perceptual is not None:
        terms["perceptual"] = perceptual_weight * perceptual(made, images).mean()
    return terms


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """Return the discriminator's hinge loss (Lim and Ye 2017)."""
    return 0.5 * (functional.relu(1 - real).mean() + functional.relu(1 + made).mean())


def hinge_generator(made: Tensor) -> Tensor:
    """Return the generator's side of the hinge loss."""
    return -made.mean()


class PatchDiscriminator(nn.Sequential):
    """Says of every patch of an image whether it is real (Isola et al. 2017, "PatchGAN").

    Args:
        width: channels of the first layer; each of the three layers of stride 2 doubles them.
    """

    def __init__(self, width: int = 48) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(2):
            wide = width * 2 ** (level + 1)
            layers += [
                nn.Conv2d(wide // 2, wide, 4, 2, 1, bias=False),
                nn.GroupNorm(wide // 12, wide),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(wide, 1, 4, 1, 1))
        super().__init__(*layers)


def gradient_balance(first: Tensor, second: Tensor) -> Tensor:
    """Return the factor that brings the second gradient to the norm of the first (Esser et al. 2021, eq. 7)."""
    factor: Tensor = first.norm() / (second.norm() + 1e-4)
    return factor.clamp(0, 1e4).detach()


def min_snr_weight(alphas_cumprod: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Return the weight of each noise level's loss: min-SNR (Hang et al. 2023, section 3.4).

    With a schedule whose last level is pure noise the weight there would be 0 and that level never learnt; the
    signal-to-noise ratio is therefore taken as 0.1 at least, which is our choice.

    Args:
        alphas_cumprod: shape (T,).
        gamma: largest ratio that counts.
        prediction_type: "v_prediction" or "epsilon".
    """
    ratio = alphas_cumprod / (1 - alphas_cumprod).clamp(min=1e-8)
    counted: Tensor = ratio.clamp(0.1, gamma)
    divisor: Tensor = ratio + 1 if prediction_type == "v_prediction" else ratio.clamp(min=1e-4)
    return counted / divisor
