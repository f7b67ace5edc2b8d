"""NLPD, the normalised Laplacian pyramid distance.

No package that is kept up has it without pulling in dozens of others, so it is here: six levels of a pyramid and
published constants. It follows the authors' program, as pyiqa does.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.metrics.base import Metric
from rdcodecs import Image

_Plane = npt.NDArray[np.float64]

_LUMA = np.array([0.299, 0.587, 0.114])
_TAPS = np.array([0.05, 0.25, 0.4, 0.25, 0.05])  # Burt and Adelson's, in each direction

# The paper's constants, fitted to photographs: the spread of each level, and how much the neighbours above, left,
# right and below count in the local amplitude by which it is divided. The last level is the low-pass residual.
_LEVELS = (
    (0.0248, (0.1011, 0.1493, 0.1460, 0.1015)),
    (0.0185, (0.0757, 0.1986, 0.1846, 0.0837)),
    (0.0179, (0.0477, 0.2138, 0.2243, 0.0467)),
    (0.0191, (0.0, 0.2503, 0.2616, 0.0)),
    (0.0220, (0.0, 0.2598, 0.2552, 0.0)),
    (0.2782, (0.0, 0.2215, 0.0717, 0.0)),
)


class NLPD(Metric):
    """Normalised Laplacian pyramid distance on the luma: contrasts are compared after the eye's gain control."""

    name: ClassVar[str] = "nlpd"
    title: ClassVar[str] = "NLPD"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    min_side: ClassVar[int] = 32
    source: ClassVar[str] = (
        "Laparra et al.: Perceptual image quality assessment using a normalized Laplacian pyramid (HVEI 2016)"
    )

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what is measured; no package or weight decides the value."""
        return {"luma": "YIQ, 0 to 1", "levels": len(_LEVELS), "mean": "over levels"}

    def prepare(self, reference: Image) -> list[_Plane]:
        """Return the levels of the reference's normalised pyramid."""
        return _pyramid(reference)

    def score(self, prepared: list[_Plane], image: Image) -> float:
        """Return the root mean square difference of the levels, averaged over them; 0 for identical images."""
        levels = zip(prepared, _pyramid(image), strict=True)
        return float(np.mean([np.sqrt(np.mean(np.square(ours - theirs))) for ours, theirs in levels]))


def _pyramid(image: Image) -> list[_Plane]:
    plane: _Plane = image @ (_LUMA / 255)
    levels = []
    for level in _LEVELS[:-1]:
        coarser = _low_pass(plane, "reflect")[::2, ::2]
        levels.append(_normalise(plane - _enlarge(coarser, plane.shape), *level))
        plane = coarser
    return [*levels, _normalise(plane, *_LEVELS[-1])]


def _enlarge(plane: _Plane, shape: tuple[int, ...]) -> _Plane:
    """Double the size: zeros between the samples, then the low-pass; the border's samples are repeated before."""
    padded = np.pad(plane, 1, mode="edge")
    between = np.zeros((2 * padded.shape[0], 2 * padded.shape[1]))
    between[::2, ::2] = 4 * padded
    return _low_pass(between, "constant")[2 : 2 + shape[0], 2 : 2 + shape[1]]


def _low_pass(plane: _Plane, border: str) -> _Plane:
    from scipy.ndimage import correlate1d

    across = correlate1d(plane, _TAPS, axis=0, mode=border)
    blurred: _Plane = correlate1d(across, _TAPS, axis=1, mode=border)
    return blurred


def _normalise(plane: _Plane, spread: float, weights: tuple[float, float, float, float]) -> _Plane:
    """Divide by the local amplitude. The authors' program convolves, so each weight acts from the other side."""
    above, left, right, below = weights
    size = np.pad(np.abs(plane), 1)
    amplitude = above * size[2:, 1:-1] + below * size[:-2, 1:-1] + left * size[1:-1, 2:] + right * size[1:-1, :-2]
    normalised: _Plane = plane / (spread + amplitude)
    return normalised
