"""ColorVideoVDP of a still image, by the package of its authors."""

import math
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rdbench.metrics.base import Metric
from rdbench.metrics.installed import package_version
from rdcodecs import Image

if TYPE_CHECKING:
    from types import ModuleType

DISPLAY = "standard_4k"
"""The package's default: 30 inches, 3840x2160, 200 cd/m², in an office (250 lux), seen from 0.75 m."""


class CVVDP(Metric):
    """ColorVideoVDP: how far an observer would rate the difference, in just-objectionable differences (JOD).

    10 is no visible difference; each step down is one that 75 % of observers would mind.
    """

    name: ClassVar[str] = "cvvdp"
    title: ClassVar[str] = "ColorVideoVDP (4K display)"
    unit: ClassVar[str] = "JOD"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (-math.inf, 10.0)
    source: ClassVar[str] = "Mantiuk et al.: ColorVideoVDP (ACM TOG 2024)"

    def __init__(self) -> None:
        self._model: Any = None

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the package, or torchvision, which it imports, is missing."""
        package_version("cvvdp")
        package_version("torchvision")

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version and the display that the observer looks at."""
        return {"cvvdp": package_version("cvvdp"), "display": DISPLAY}

    def score(self, prepared: Image, image: Image) -> float:
        """Return the quality in JOD, 10 for identical images."""
        import torch

        if self._model is None:
            self._model = _package().cvvdp(display_name=DISPLAY, quiet=True, device=torch.device("cpu"))
        # Copies: the package makes tensors of the arrays as they are, which read-only and flipped ones cannot be.
        # Its blur draws a width from an interval of no length: the value does not vary, but torch's generator would.
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            quality, _ = self._model.predict(image.copy(), prepared.copy(), dim_order="HWC")
        return float(quality)


def _package() -> "ModuleType":
    """Import the package. It puts its own folder on the search path, where modules named `utils` lie: taken off."""
    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    path = list(sys.path)
    try:
        import pycvvdp
    finally:
        sys.path[:] = path
    module: ModuleType = pycvvdp
    return module
