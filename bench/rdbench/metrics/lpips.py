"""LPIPS on three backbones, with the heads of the `lpips` package."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.backbones import ALEXNET, SQUEEZENET, VGG16, Backbone
from rdbench.metrics.installed import package_version, packaged_file
from rdbench.metrics.perceptual import PerceptualMetric
from rdbench.metrics.weights import verify

if TYPE_CHECKING:
    from pathlib import Path

    from rdbench.metrics.perceptual_net import PerceptualNet


class LPIPS(PerceptualMetric):
    """Learned perceptual image patch similarity, version 0.1, with linear heads.

    The heads come with the `lpips` package, the backbone is torchvision's: `rdbench fetch` gets it. Without it
    the metric is unavailable: an untrained backbone gives numbers too, but they mean nothing.
    """

    source: ClassVar[str] = "Zhang et al.: The unreasonable effectiveness of deep features (CVPR 2018), eq. 1"
    trunk: ClassVar[Backbone]
    """The trained convolutions."""
    heads_sha256: ClassVar[str]
    """First digits of the SHA-256 of the linear heads."""

    def check(self) -> None:
        """Raise `MetricUnavailableError` if a package or the backbone is missing."""
        package_version("torchvision")
        self._heads()
        self.trunk.check()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version and the weights' hashes (weights of another hash are refused)."""
        return {"lpips": package_version("lpips"), "heads": self.heads_sha256, "backbone": self.trunk.identity}

    def load(self) -> "PerceptualNet":
        """Return the trained network, or raise `MetricUnavailableError`."""
        from rdbench.metrics.lpips_net import load_lpips

        return load_lpips(self.backbone, self._heads(), self.trunk.state())

    def _heads(self) -> "Path":
        path = packaged_file("lpips", f"lpips/weights/v0.1/{self.backbone}.pth")
        verify(path, self.heads_sha256)
        return path


class LPIPSAlex(LPIPS):
    """LPIPS on AlexNet, the usual choice for evaluation."""

    name: ClassVar[str] = "lpips_alex"
    title: ClassVar[str] = "LPIPS (AlexNet)"
    min_side: ClassVar[int] = 31
    backbone: ClassVar[str] = "alex"
    trunk: ClassVar[Backbone] = ALEXNET
    heads_sha256: ClassVar[str] = "df73285e"


class LPIPSVGG(LPIPS):
    """LPIPS on VGG16, the usual choice as a training loss."""

    name: ClassVar[str] = "lpips_vgg"
    title: ClassVar[str] = "LPIPS (VGG16)"
    min_side: ClassVar[int] = 16
    backbone: ClassVar[str] = "vgg"
    trunk: ClassVar[Backbone] = VGG16
    heads_sha256: ClassVar[str] = "a78928a0"


class LPIPSSqueeze(LPIPS):
    """LPIPS on SqueezeNet 1.1."""

    name: ClassVar[str] = "lpips_squeeze"
    title: ClassVar[str] = "LPIPS (SqueezeNet)"
    min_side: ClassVar[int] = 17
    backbone: ClassVar[str] = "squeeze"
    trunk: ClassVar[Backbone] = SQUEEZENET
    heads_sha256: ClassVar[str] = "4a5350f2"
