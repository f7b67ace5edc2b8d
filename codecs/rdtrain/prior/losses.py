"""Losses of the autoencoder and weights of the noise prediction's."""

from torch import Tensor, nn
from torch.nn import functional


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), mean over all elements (Kingma and Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


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
