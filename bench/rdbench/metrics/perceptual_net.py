"""The network of LPIPS and its kin, in the two halves a benchmark wants: features, and their distance."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

_EPSILON = 1e-10


class FeatureNet(nn.Module):
    """A network in which images are compared stage by stage. Its parameters are frozen."""

    @abstractmethod
    def features(self, images: Tensor) -> Iterator[Any]:
        """Yield what is kept of images of shape (N, 3, H, W) in [-1, 1] at each stage."""

    @abstractmethod
    def distance(self, reference: Iterable[Any], images: Tensor) -> Tensor:
        """Return the distance of images from references given by their features, shape (N,)."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance between two batches of images, shape (N,).

        Args:
            a: shape (N, 3, H, W), sRGB in [-1, 1].
            b: likewise.
        """
        return self.distance(self.features(a), b)


class PerceptualNet(FeatureNet):
    """Learned perceptual distance: Zhang et al., CVPR 2018, eq. 1.

    The features of each stage are normalised to unit length over the channels, their squared differences are
    weighted by channel, averaged over the image and summed over the stages. All parameters are frozen, but
    gradients reach the images: the module serves as a training loss too.

    Args:
        scaling: brings images in [-1, 1] to what the first stage was trained on.
        stages: the network, cut where features are taken.
        heads: one 1x1 convolution to one channel for every stage.
    """

    def __init__(self, scaling: nn.Module, stages: Iterable[nn.Module], heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.scaling = scaling
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(heads)
        self.requires_grad_(False)
        self.eval()

    def features(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the normalised features of each stage.

        Args:
            images: shape (N, 3, H, W), sRGB in [-1, 1].

        Yields:
            Shape (N, C, h, w), of unit length over C (or zero).
        """
        x = self.scaling(images)
        for stage in self.stages:
            x = stage(x)
            length = x.square().sum(dim=1, keepdim=True).sqrt()
            yield x / (length + _EPSILON)

    def distance(self, reference: Iterable[Tensor], images: Tensor) -> Tensor:
        """Return the distance of images from references given by their features, shape (N,).

        Args:
            reference: what `features` gave for the reference images.
            images: shape (N, 3, H, W), sRGB in [-1, 1].
        """
        # Stage by stage, so that only one stage's features of `images` are held at a time.
        parts: list[Tensor] = [
            head((ours - theirs).square()).mean(dim=(2, 3))
            for head, ours, theirs in zip(self.heads, reference, self.features(images), strict=True)
        ]
        return sum(parts[1:], start=parts[0]).squeeze(1)
