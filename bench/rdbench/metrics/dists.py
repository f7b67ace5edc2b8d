"""DISTS, with the weights that the `DISTS-pytorch` package carries."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.backbones import VGG16
from rdbench.metrics.installed import packaged_file
from rdbench.metrics.perceptual import PerceptualMetric
from rdbench.metrics.weights import verify

if TYPE_CHECKING:
    from rdbench.metrics.dists_net import DISTSNet

PACKAGE = "DISTS-pytorch"

_WEIGHTS_SHA256 = "f5e65c96"


class DISTS(PerceptualMetric):
    """Deep image structure and texture similarity: texture that looks alike counts as alike.

    Only the package's 12 kB of weights are taken; its network would download a backbone. The image is not
    resized, as in the package's function.
    """

    name: ClassVar[str] = "dists"
    title: ClassVar[str] = "DISTS"
    range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    min_side: ClassVar[int] = 16
    backbone: ClassVar[str] = "vgg"
    source: ClassVar[str] = "Ding et al.: Image quality assessment: unifying structure and texture (TPAMI 2022), eq. 7"

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the package or the backbone is missing or damaged."""
        _weights_file()
        VGG16.check()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the weights' hashes (weights of another hash are refused)."""
        return {"weights": _WEIGHTS_SHA256, "backbone": VGG16.identity, "size": "as it is"}

    def load(self) -> "DISTSNet":
        """Return the trained network, or raise `MetricUnavailableError`."""
        import torch

        from rdbench.metrics.dists_net import DISTSNet

        weights = torch.load(_weights_file(), map_location="cpu", weights_only=True)
        return DISTSNet(VGG16.state(), weights["alpha"], weights["beta"])


def _weights_file() -> Path:

    path = packaged_file(PACKAGE, "DISTS_pytorch/weights.pt")
    verify(path, _WEIGHTS_SHA256)
    return path
