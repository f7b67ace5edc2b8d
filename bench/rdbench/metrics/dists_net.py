"""The network of DISTS in plain torch."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdbench.metrics.perceptual_net import FeatureNet
from rdbench.metrics.vgg import WIDTHS, vgg_stages

_C = 1e-6  # c1 and c2 of the paper


class StageStatistics(NamedTuple):
    """What DISTS keeps of one stage: shapes (N, C, 1, 1), (N, C, h, w), (N, C, 1, 1)."""

    mean: Tensor
    centred: Tensor
    variance: Tensor


class DISTSNet(FeatureNet):
    """Deep image structure and texture similarity (Ding et al., TPAMI 2022), eq. 4 to 7.

    Two images are compared by the global means (texture) and the global covariance (structure) of every channel
    of VGG16, whose pooling is a smooth one, and of the image itself.

    Args:
        state: the convolutions of VGG16 by their names in torchvision.
        alpha: weight of each channel's texture, 1475 values.
        beta: weight of each channel's structure, likewise.
    """

    mean: Tensor
    spread: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, state: Mapping[str, Tensor], alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.stages = vgg_stages(state, _L2Pool)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        total = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha.reshape(1, -1, 1, 1) / total)
        self.register_buffer("beta", beta.reshape(1, -1, 1, 1) / total)

    def features(self, images: Tensor) -> Iterator[StageStatistics]:
        """Yield the statistics of the images themselves and of each stage.

        Args:
            images: shape (N, 3, H, W), sRGB in [-1, 1].
        """
        x = (images + 1) / 2
        yield _statistics(x)
        x = (x - self.mean) / self.spread
        for stage in self.stages:
            x = stage(x)
            yield _statistics(x)

    def distance(self, reference: Iterable[StageStatistics], images: Tensor) -> Tensor:
        """Return the distance of images from references given by their features, shape (N,).

        Args:
            reference: what `features` gave for the reference images.
            images: shape (N, 3, H, W), sRGB in [-1, 1].
        """
        channels = [3, *WIDTHS]
        weights = zip(torch.split(self.alpha, channels, 1), torch.split(self.beta, channels, 1), strict=True)
        parts = []
        for (alpha, beta), a, b in zip(weights, reference, self.features(images), strict=True):
            texture = (2 * a.mean * b.mean + _C) / (a.mean.square() + b.mean.square() + _C)
            covariance = (a.centred * b.centred).mean(dim=(2, 3), keepdim=True)
            structure = (2 * covariance + _C) / (a.variance + b.variance + _C)
            # The weights sum to 1, so this is 1 minus the weighted similarities, and exactly 0 for equal images.
            parts.append((alpha * (1 - texture) + beta * (1 - structure)).sum(dim=(1, 2, 3)))
        return torch.stack(parts).sum(dim=0)


class _L2Pool(nn.Module):
    """Halve the size: the root of the squares, averaged by a 3x3 Hann window."""

    window: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("window", torch.outer(taps, taps).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        squares = functional.conv2d(x.square(), self.window, stride=2, padding=1, groups=x.shape[1])
        return (squares + 1e-12).sqrt()


def _statistics(x: Tensor) -> StageStatistics:
    mean = x.mean(dim=(2, 3), keepdim=True)
    centred = x - mean
    return StageStatistics(mean, centred, centred.square().mean(dim=(2, 3), keepdim=True))
