"""VIF, IW-SSIM, FSIM, GMSD and HaarPSI, as the `piq` package computes them."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.base import Metric, too_little_content
from rdbench.metrics.installed import package_version
from rdbench.metrics.tensors import to_tensor
from rdcodecs import Image

if TYPE_CHECKING:
    from torch import Tensor


class PIQMetric(Metric):
    """A metric that is one function of `piq`: of the image, the reference, and the range of their values."""

    function: ClassVar[str]
    """The function's name in `piq`."""
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def check(self) -> None:
        """Raise `MetricUnavailableError` if piq, or torchvision, which it imports, is missing."""
        package_version("piq")
        package_version("torchvision")

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version."""
        return {"piq": package_version("piq")}

    def prepare(self, reference: Image) -> "Tensor":
        """Return the reference as a tensor; the package offers no way to keep more."""
        return to_tensor(reference)

    def score(self, prepared: "Tensor", image: Image) -> float:
        """Return the metric.

        Raises:
            UndefinedScoreError: the reference has too little content for it.
        """
        import torch

        from rdcodecs.torchvision_compat import ensure_torchvision

        ensure_torchvision()
        import piq

        try:
            with torch.inference_mode():
                value = float(getattr(piq, self.function)(to_tensor(image), prepared, data_range=255))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise too_little_content(self.name) from error
        if math.isnan(value):
            raise too_little_content(self.name)
        return min(value, self.range[1])  # rounding can pass 1 by a hair


class VIF(PIQMetric):
    """Visual information fidelity in the pixel domain, on the luma: the share of information that is kept.

    An image with more contrast than its reference passes 1.
    """

    name: ClassVar[str] = "vif"
    title: ClassVar[str] = "VIF (pixel domain)"
    function: ClassVar[str] = "vif_p"
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    min_side: ClassVar[int] = 41
    source: ClassVar[str] = "Sheikh, Bovik: Image information and visual quality (IEEE TIP 2006), authors' vifp_mscale"


class IWSSIM(PIQMetric):
    """MS-SSIM on the luma, every place weighted by the information that it carries."""

    name: ClassVar[str] = "iw_ssim"
    title: ClassVar[str] = "IW-SSIM"
    function: ClassVar[str] = "information_weighted_ssim"
    min_side: ClassVar[int] = 161
    source: ClassVar[str] = "Wang, Li: Information content weighting for perceptual image quality (IEEE TIP 2011)"


class FSIM(PIQMetric):
    """Feature similarity with colour (FSIMc): phase congruency and gradients, on the image at about 256 pixels."""

    name: ClassVar[str] = "fsim"
    title: ClassVar[str] = "FSIMc"
    function: ClassVar[str] = "fsim"
    source: ClassVar[str] = "Zhang et al.: FSIM, a feature similarity index (IEEE TIP 2011), eq. 12"


class GMSD(PIQMetric):
    """Gradient magnitude similarity deviation on the luma at half size: the spread of a local similarity."""

    name: ClassVar[str] = "gmsd"
    title: ClassVar[str] = "GMSD"
    function: ClassVar[str] = "gmsd"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, 0.5)
    source: ClassVar[str] = "Xue et al.: Gradient magnitude similarity deviation (IEEE TIP 2014), eq. 6"


class HaarPSI(PIQMetric):
    """Haar wavelet-based perceptual similarity, in colour, at half size."""

    name: ClassVar[str] = "haarpsi"
    title: ClassVar[str] = "HaarPSI"
    function: ClassVar[str] = "haarpsi"
    source: ClassVar[str] = "Reisenhofer et al.: A Haar wavelet-based perceptual similarity index (SPIC 2018)"
