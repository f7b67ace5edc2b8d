"""FLIP, the difference seen when two images are flipped back and forth."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.metrics.base import Metric
from rdbench.metrics.installed import package_version
from rdcodecs import Image

PIXELS_PER_DEGREE = 0.7 * 3840 / 0.7 * math.pi / 180
"""FLIP's own default: a screen 3840 pixels and 0.7 m wide, seen from 0.7 m."""


class FLIP(Metric):
    """LDR-FLIP: the mean of the error map, 0 for identical images, 1 at most."""

    name: ClassVar[str] = "flip"
    title: ClassVar[str] = "FLIP"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    source: ClassVar[str] = "Andersson et al.: FLIP, a difference evaluator for alternating images (HPG 2020)"

    def check(self) -> None:
        """Raise `MetricUnavailableError` if flip-evaluator is missing."""
        package_version("flip-evaluator")

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version and the viewing condition."""
        return {"flip-evaluator": package_version("flip-evaluator"), "ppd": round(PIXELS_PER_DEGREE, 4)}

    def prepare(self, reference: Image) -> npt.NDArray[np.float32]:
        """Return the reference in [0, 1]; the package offers no way to keep more."""
        return _unit(reference)

    def score(self, prepared: npt.NDArray[np.float32], image: Image) -> float:
        """Return the mean error, 0 to 1."""
        import flip_evaluator

        _, mean, _ = flip_evaluator.evaluate(
            prepared, _unit(image), "LDR", applyMagma=False, parameters={"ppd": PIXELS_PER_DEGREE}
        )
        return float(mean)


def _unit(image: Image) -> npt.NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)
