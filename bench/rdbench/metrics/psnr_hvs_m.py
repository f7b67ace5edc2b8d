"""PSNR-HVS-M, by the `psnr-hvsm` package."""

import contextlib
import functools
import io
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.metrics.base import Metric
from rdbench.metrics.installed import package_version
from rdcodecs import Image

_CEILING = 100.0  # what the package gives to identical images


class PSNRHVSM(Metric):
    """PSNR of 8x8 cosine coefficients, weighted by what the eye can see and less what the block's texture masks.

    On the luma of BT.601 in 8 bits. Where nothing is visible it is 100 dB.
    """

    name: ClassVar[str] = "psnr_hvs_m"
    title: ClassVar[str] = "PSNR-HVS-M"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, _CEILING)
    source: ClassVar[str] = "Ponomarenko et al.: On between-coefficient contrast masking of DCT basis (VPQM 2007)"

    def check(self) -> None:
        """Raise `MetricUnavailableError` if psnr-hvsm is missing."""
        package_version("psnr-hvsm")

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version and what is measured."""
        return {"psnr-hvsm": package_version("psnr-hvsm"), "luma": "BT.601, 8 bits", "blocks": "whole ones"}

    def prepare(self, reference: Image) -> npt.NDArray[np.float64]:
        """Return the reference's luma; the package offers no way to keep more."""
        return _luma(reference)

    def score(self, prepared: npt.NDArray[np.float64], image: Image) -> float:
        """Return the value in dB."""
        # A flat block has no variance to divide by; the package then takes another value, after the division.
        with np.errstate(divide="ignore", invalid="ignore"):
            _, masked = _package().hvs_hvsm_mse(prepared, _luma(image))
        error = float(masked)
        return _CEILING if error <= 0 else min(_CEILING, -10 * float(np.log10(error)))


def _luma(image: Image) -> npt.NDArray[np.float64]:
    """Return the luma, 0 to 1, cut to whole blocks as the authors' program does."""
    height, width = (side // 8 * 8 for side in image.shape[:2])
    luma: npt.NDArray[np.float64] = _package().bt601ycbcr(image[:height, :width])[0]
    return luma


@functools.cache
def _package() -> ModuleType:
    """Import the package's numpy part. The package prints advice about the other parts when it is imported."""
    with contextlib.redirect_stdout(io.StringIO()):
        import psnr_hvsm.numpy
    module: ModuleType = psnr_hvsm.numpy
    return module
