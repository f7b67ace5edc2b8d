"""PSNR of 8-bit sRGB images."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from rdbench.metrics.base import Metric
from rdcodecs import Image


class PSNR(Metric):
    """Peak signal-to-noise ratio: 10·log10(255² / MSE), one MSE over R, G and B together.

    Identical images have an infinite PSNR. A data set's PSNR is the mean of its images' PSNR, which is not
    the PSNR of the mean MSE.
    """

    name: ClassVar[str] = "psnr"
    title: ClassVar[str] = "PSNR"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    source: ClassVar[str] = "10·log10(255² / MSE), one MSE over R, G and B of the 8-bit sRGB image"

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what is measured; no package or weight decides the value."""
        return {"domain": "8-bit sRGB", "mse": "R, G and B together"}

    def score(self, prepared: Image, image: Image) -> float:
        """Return the PSNR in dB, infinite for identical images."""
        # Whole numbers until the last division: the value does not depend on the order of a sum.
        difference = prepared.astype(np.int32) - image
        squares = int(np.square(difference).sum(dtype=np.int64))
        if squares == 0:
            return math.inf
        return 10 * math.log10(255**2 * difference.size / squares)
