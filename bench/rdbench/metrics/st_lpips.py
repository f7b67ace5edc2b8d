"""Shift-tolerant LPIPS on two backbones, with the weights that the `stlpips-pytorch` package carries."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.installed import package_version
from rdbench.metrics.perceptual import PerceptualMetric
from rdbench.metrics.st_lpips_weights import PACKAGE, WEIGHTS_SHA256, weights_file

if TYPE_CHECKING:
    from rdbench.metrics.perceptual_net import PerceptualNet


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
        return {PACKAGE: package_version(PACKAGE), "weights": WEIGHTS_SHA256[self.backbone]}

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
