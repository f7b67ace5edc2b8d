"""What LPIPS and its kin have in common: the distance of two images in a trained network's features."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.base import Metric
from rdbench.metrics.tensors import to_tensor
from rdcodecs import Image

if TYPE_CHECKING:
    from torch import Tensor

    from rdbench.metrics.perceptual_net import FeatureNet


class PerceptualMetric(Metric):
    """A distance between features. The network is loaded when the first image comes.

    The reference's features are computed once, in `prepare`, and kept: up to 500 bytes per pixel (VGG16), which
    is 190 MB for a 768x512 image.
    """

    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    backbone: ClassVar[str]

    def __init__(self) -> None:
        self._net: FeatureNet | None = None

    @abstractmethod
    def load(self) -> "FeatureNet":
        """Return the trained network, or raise `MetricUnavailableError`."""

    def prepare(self, reference: Image) -> list[Any]:
        """Return the reference's features, stage by stage."""
        import torch

        with torch.inference_mode():
            return list(self._network().features(_scaled(reference)))

    def score(self, prepared: list[Any], image: Image) -> float:
        """Return the distance, 0 for identical images."""
        import torch

        with torch.inference_mode():
            return float(self._network().distance(prepared, _scaled(image)))

    def _network(self) -> "FeatureNet":
        if self._net is None:
            import torch

            # channels_last saves about a quarter of the time on a CPU. (torch's annotations leave it out.)
            self._net = self.load().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self._net


def _scaled(image: Image) -> "Tensor":
    """Return the image in [-1, 1], which these networks expect; [0, 1] would pass unnoticed and be wrong."""
    return to_tensor(image) / 127.5 - 1
