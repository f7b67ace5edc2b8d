"""Colours by code points of ITU-T H.273 (CICP) to sRGB.

AVIF, HEIC, PNG and JPEG XL may say with three numbers what their samples mean: colour primaries, transfer
characteristics, matrix coefficients. Decoders undo the matrix; primaries and transfer are left to the reader. Tables
and formulas are those of Rec. ITU-T H.273 (07/2021), tables 2 and 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rdbench.datasets.base import ImageError

Floats = npt.NDArray[np.float64]
Levels = npt.NDArray[np.uint8]

_D65, _C, _E, _DCI = (0.3127, 0.3290), (0.310, 0.316), (1 / 3, 1 / 3), (0.314, 0.351)
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_SMPTE = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
_PRIMARIES = {
    1: (((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)), _D65),  # BT.709, sRGB
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), _C),  # BT.470 System M
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), _D65),  # BT.470 System B, G
    6: (_SMPTE, _D65),  # BT.601 525, SMPTE ST 170
    7: (_SMPTE, _D65),  # SMPTE ST 240
    8: (((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)), _C),  # generic film
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), _D65),  # BT.2020, BT.2100
    10: (((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), _E),  # CIE 1931 XYZ
    11: (_P3, _DCI),  # DCI-P3
    12: (_P3, _D65),  # P3 D65, Display P3
    22: (((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)), _D65),  # EBU Tech 3213-E
}
"""Code → chromaticities x, y of red, green and blue, and of white."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_UNSPECIFIED = 2
_SRGB = 13
_HDR = {16: "PQ", 18: "HLG"}
_STRIP = 1 << 20
"""Pixels that are converted at a time: what is in between takes ten times the memory of the picture."""


@dataclass(frozen=True)
class Cicp:
    """What a file says of its colours.

    Attributes:
        primaries: ColourPrimaries, table 2 of H.273.
        transfer: TransferCharacteristics, table 3.
        full_range: False where RGB samples themselves run from 16 to 235 only (PNG; other decoders undo it).
    """

    primaries: int
    transfer: int
    full_range: bool = True

    @property
    def is_srgb(self) -> bool:
        """Whether samples are sRGB as they are; what the file leaves unspecified counts as that."""
        return self.full_range and self.primaries in (1, _UNSPECIFIED) and self.transfer in (_SRGB, _UNSPECIFIED)

    @property
    def is_hdr(self) -> bool:
        """Whether they are of BT.2100, brighter than sRGB's white."""
        return self.transfer in _HDR

    def check(self) -> None:
        """Refuse colours for which no conversion to sRGB is defined.

        Raises:
            ImageError: the reason only.
        """
        if self.is_hdr:
            raise ImageError(
                f"HDR, {_HDR[self.transfer]} of BT.2100 (CICP {self.primaries}/{self.transfer}): it has no defined "
                "rendering in sRGB, convert it to SDR first"
            )
        if self.transfer not in _LINEAR:
            raise ImageError(f"transfer characteristics {self.transfer} are reserved in ITU-T H.273: save it as sRGB")
        if self.primaries not in _PRIMARIES and self.primaries != _UNSPECIFIED:
            raise ImageError(f"colour primaries {self.primaries} are reserved in ITU-T H.273: save it as sRGB")


def to_srgb_levels(samples: npt.NDArray[Any], full: int, cicp: Cicp) -> Levels:
    """Convert samples to the nearest 8-bit sRGB levels. Colours outside of sRGB are clipped channel by channel.

    Args:
        samples: whole numbers of 0..`full`, shape (H, W, C), C = 1 (gray) or 3 (RGB).
        full: 255 or 65535.
        cicp: what they mean.

    Returns:
        uint8, shape (H, W, C).

    Raises:
        ImageError: no conversion is defined.
    """
    cicp.check()
    codes = np.arange(full + 1) / full
    if not cicp.full_range:
        unit = (full + 1) / 256
        codes = np.clip((codes * full - 16 * unit) / (219 * unit), 0, 1)
    linear = _LINEAR[cicp.transfer](codes)
    if samples.shape[2] == 1 or cicp.primaries in (1, _UNSPECIFIED):
        levels: Levels = _nearest_levels(linear)[samples]
        return levels
    matrix = _matrix_to_srgb(cicp.primaries)
    result = np.empty(samples.shape, np.uint8)
    rows = max(1, _STRIP // max(1, samples.shape[1]))
    for top in range(0, len(samples), rows):
        r, g, b = (linear[samples[top : top + rows, :, channel]] for channel in range(3))
        for channel, (from_r, from_g, from_b) in enumerate(matrix):
            result[top : top + rows, :, channel] = _nearest_levels(from_r * r + from_g * g + from_b * b)
    return result


def _nearest_levels(linear: Floats) -> Levels:
    """Return the sRGB levels nearest to linear light of 0..1; what is beyond is clipped."""
    level = _LEVEL_ABOVE[np.clip(linear * _CELLS, 0, _CELLS).astype(np.uint32)]
    level += linear >= _BETWEEN[level]
    return level


def _matrix_to_srgb(primaries: int) -> list[list[float]]:
    """Return the matrix from linear RGB to linear sRGB; another white is adapted to D65 by Bradford, as in ICC.1."""
    colours, white = _PRIMARIES[primaries]
    target, d65 = _PRIMARIES[1]
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _xyz(d65)) / (_BRADFORD @ _xyz(white))) @ _BRADFORD
    matrix: list[list[float]] = (np.linalg.inv(_to_xyz(target, d65)) @ adapt @ _to_xyz(colours, white)).tolist()
    return matrix


def _to_xyz(colours: tuple[tuple[float, float], ...], white: tuple[float, float]) -> Floats:
    """Return the matrix from linear RGB to XYZ with Y = 1 for white (SMPTE RP 177)."""
    columns = np.array([(x, y, 1 - x - y) for x, y in colours]).T
    scaled: Floats = columns * np.linalg.solve(columns, _xyz(white))
    return scaled


def _xyz(white: tuple[float, float]) -> Floats:
    x, y = white
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _srgb(code: Floats) -> Floats:
    # Constants of IEC 61966-2-1; those of H.273, which join without a step, differ by less than 1e-5.
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def _bt709(code: Floats) -> Floats:
    alpha, beta = 1.099296826809442, 0.018053968510807
    return np.where(code < 4.5 * beta, code / 4.5, ((code + alpha - 1) / alpha) ** (1 / 0.45))


def _smpte240(code: Floats) -> Floats:
    alpha, beta = 1.111572195921731, 0.022821585529445
    return np.where(code < 4 * beta, code / 4, ((code + alpha - 1) / alpha) ** (1 / 0.45))


def _logarithmic(decades: float) -> Callable[[Floats], Floats]:
    return lambda code: np.where(code > 0, 10 ** ((code - 1) * decades), 0.0)


def _power(exponent: float, scale: float = 1.0) -> Callable[[Floats], Floats]:
    return lambda code: scale * code**exponent


_LINEAR: dict[int, Callable[[Floats], Floats]] = {
    1: _bt709,
    _UNSPECIFIED: _srgb,
    4: _power(2.2),
    5: _power(2.8),
    6: _bt709,  # BT.601
    7: _smpte240,
    8: _power(1),
    9: _logarithmic(2),
    10: _logarithmic(2.5),
    11: _bt709,  # xvYCC: it differs where codes are negative, which RGB samples are not
    12: _bt709,  # BT.1361: as above
    _SRGB: _srgb,
    14: _bt709,  # BT.2020, 10 bits
    15: _bt709,  # BT.2020, 12 bits
    17: _power(2.6, 52.37 / 48),  # SMPTE ST 428-1
}
"""TransferCharacteristics → the function from codes of 0..1 to linear light, white = 1."""

_BETWEEN = np.append(_srgb((np.arange(255) + 0.5) / 255), np.inf)
"""Linear light half-way, in sRGB codes, between each level and the next."""
_CELLS = 1 << 16
"""In how many cells linear light is cut for `_LEVEL_ABOVE`: a level spans 19 of them at least."""
_LEVEL_ABOVE = np.searchsorted(_BETWEEN, np.arange(_CELLS + 1) / _CELLS, side="right").astype(np.uint8)
"""The level of each cell's lower edge: what is in the cell has that level or the next."""
