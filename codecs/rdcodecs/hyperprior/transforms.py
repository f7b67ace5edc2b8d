"""The transforms of a hyperprior codec: image to latent and back, latent to hyper-latent and back, latent to sketch.

The scheme is Ballé et al. 2018, "Variational image compression with a scale hyperprior", with the mean of Minnen et
al. 2018; the layers are chosen for a CPU: most of the work is done at a quarter of the image's size and below.
"""

from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.hyperprior.config import STRIDE, HyperpriorConfig
from rdcodecs.hyperprior.layers import Stage, upsampling

_STEM = 4


def _walk(features: Tensor, stages: nn.ModuleList, resized: nn.ModuleList, levels: Tensor) -> Tensor:
    """Return features after all stages, with a change of size before each but the first."""
    features = stages[0](features, levels)
    for resize, stage in zip(resized, stages[1:], strict=True):
        features = stage(resize(features), levels)
    return features


class Analysis(nn.Module):
    """Encoder E: image to latent.

    Args:
        config: of the model.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        first, second, third = config.widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(_STEM), nn.Conv2d(3 * _STEM**2, first, 3, padding=1))
        self.stages = nn.ModuleList(Stage(width, config.blocks, config.levels) for width in config.widths)
        self.down = nn.ModuleList(
            [nn.Conv2d(first, second, 3, stride=2, padding=1), nn.Conv2d(second, third, 3, stride=2, padding=1)]
        )
        self.head = nn.Conv2d(third, config.latent_channels, 3, padding=1)

    def forward(self, images: Tensor, levels: Tensor) -> Tensor:
        """Return latents of shape (N, M, H / 16, W / 16).

        Args:
            images: shape (N, 3, H, W) in [-1, 1], sides multiples of 16.
            levels: shape (N,).
        """
        latents: Tensor = self.head(_walk(self.stem(images), self.stages, self.down, levels))
        return latents


class _Decoder(nn.Module):
    """A head, stages with upsampling between them, and a tail, which those that derive from it make."""

    head: nn.Module
    stages: nn.ModuleList
    up: nn.ModuleList
    tail: nn.Module

    def forward(self, latents: Tensor, levels: Tensor) -> Tensor:
        """Return what is decoded.

        Args:
            latents: shape (N, M, h, w), after the inverse gain.
            levels: shape (N,).
        """
        decoded: Tensor = self.tail(_walk(self.head(latents), self.stages, self.up, levels))
        return decoded


class Synthesis(_Decoder):
    """Auxiliary decoder: latent to images of shape (N, 3, 16·h, 16·w), about [-1, 1].

    Args:
        config: of the model.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        first, second, third = config.widths
        self.head = nn.Conv2d(config.latent_channels, third, 3, padding=1)
        self.stages = nn.ModuleList(Stage(width, config.blocks, config.levels) for width in reversed(config.widths))
        self.up = nn.ModuleList([upsampling(third, second), upsampling(second, first)])
        self.tail = upsampling(first, 3, _STEM)


class SketchDecoder(_Decoder):
    """Latent to sketches: images as latents of a diffusion model of stride s, shape (N, C, h·16 / s, w·16 / s).

    Args:
        config: of the model, with a sketch.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        _, second, third = config.widths
        self.head = nn.Conv2d(config.latent_channels, third, 3, padding=1)
        self.stages = nn.ModuleList([Stage(third, config.sketch_blocks, config.levels)])
        self.up = nn.ModuleList()
        width = third
        for _ in range((STRIDE // config.sketch_stride).bit_length() - 1):
            self.up.append(upsampling(width, second))
            self.stages.append(Stage(second, config.sketch_blocks, config.levels))
            width = second
        self.tail = nn.Conv2d(width, config.sketch_channels, 3, padding=1)


class HyperAnalysis(nn.Sequential):
    """Latent to hyper-latent, a quarter of its size.

    Args:
        config: of the model.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        width, channels = config.hyper_width, config.hyper_channels
        super().__init__(
            nn.Conv2d(config.latent_channels, width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, channels, 3, stride=2, padding=1),
        )


class HyperSynthesis(nn.Module):
    """Hyper-latent to the parameters of the latent's distribution, in floating point: what is trained.

    `fixed_point.ExactHyperSynthesis` computes the same to the bit on every machine: what is used.

    Args:
        config: of the model.
    """

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        width = config.hyper_width
        self.first = nn.Conv2d(config.hyper_channels, width, 3, padding=1)
        self.level = nn.Embedding(config.levels, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, 2 * config.latent_channels, 3, padding=1)

    def forward(self, hyper: Tensor, levels: Tensor) -> Tensor:
        """Return raw parameters of shape (N, 2·M, 4·h, 4·w): the means, then the places in the scale table.

        Args:
            hyper: shape (N, C, h, w), whole numbers.
            levels: shape (N,).
        """
        features = functional.relu(self.first(hyper) + self.level(levels)[:, :, None, None])
        features = functional.relu(self.second(functional.interpolate(features, scale_factor=2.0)))
        parameters: Tensor = self.third(functional.interpolate(features, scale_factor=2.0))
        return parameters
