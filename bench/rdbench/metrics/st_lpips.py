"""Shift-tolerant LPIPS on two backbones, with the weights that the `stlpips-pytorch` package carries."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.installed import package_version, packaged_file
from rdbench.metrics.perceptual import PerceptualMetric
from rdbench.metrics.weights import verify

if TYPE_CHECKING:
    from rdbench.metrics.perceptual_net import PerceptualNet

PACKAGE = "stlpips-pytorch"

_WEIGHTS_SHA256 = {"alex": "b356b382", "vgg": "44597da6"}
"""First digits of the SHA-256 of each backbone's weights; other weights are refused."""


def weights_file(backbone: str) -> Path:
    """Return the file with a backbone's weights and heads. The package's own code is not imported.

    Args:
        backbone: "alex" or "vgg".

    Raises:
        MetricUnavailableError: the package, or the file in it, is missing or damaged.
    """
    path = packaged_file(PACKAGE, f"stlpips_pytorch/weights/vST0.0/{backbone}_shift_tolerant.pth")
    verify(path, _WEIGHTS_SHA256[backbone])
    return path


class STLPIPS(PerceptualMetric):
    """Shift-tolerant LPIPS: LPIPS on networks with blurred strides, so that a shift of a pixel costs little.

    Backbone and heads were trained together, by its authors; the values are not those of LPIPS.
    """

    source: ClassVar[str] = "Ghildyal, Liu: Shift-tolerant perceptual similarity metric (ECCV 2022)"

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the package with the weights is missing or damaged."""
        weights_file(self.backbone)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version and the weights' hash (weights of another hash are refused)."""
        return {PACKAGE: package_version(PACKAGE), "weights": _WEIGHTS_SHA256[self.backbone]}

    def load(self) -> "PerceptualNet":
        """Return the trained network, or raise `MetricUnavailableError`."""
        from rdbench.metrics.st_lpips_net import STLPIPSNet

        return STLPIPSNet(self.backbone)


class STLPIPSAlex(STLPIPS):
    """Shift-tolerant LPIPS on AlexNet."""

    name: ClassVar[str] = "st_lpips_alex"
    title: ClassVar[str] = "ST-LPIPS (AlexNet)"
    min_side: ClassVar[int] = 21
    backbone: ClassVar[str] = "alex"


class STLPIPSVGG(STLPIPS):
    """Shift-tolerant LPIPS on VGG16."""

    name: ClassVar[str] = "st_lpips_vgg"
    title: ClassVar[str] = "ST-LPIPS (VGG16)"
    min_side: ClassVar[int] = 18
    backbone: ClassVar[str] = "vgg"
