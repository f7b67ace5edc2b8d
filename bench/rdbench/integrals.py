"""Means of interpolated curves over an interval, for many curves at once.

`bjontegaard` computes the point estimates. An interval over images needs the same integral for every image left out in
turn; these are the same three interpolants over a batch (the tests hold them against `bjontegaard` to 1e-9).
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Method = Literal["pchip", "akima", "cubic"]

_FLAT = 1e-9
"""A slope below zero by less than this share of the row's mean slope is rounding."""


class _Pieces(NamedTuple):
    """An interpolant as K cubics per row: c0 + c1 s + c2 s^2 + c3 s^3 with s = (x - origin) / scale, each (B, K)."""

    first: Floats
    last: Floats
    origin: Floats
    scale: Floats
    coefficients: tuple[Floats, Floats, Floats, Floats]

    def within(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Return the part of [low, high] that lies in each piece, as s; the two are equal where none does."""
        start, stop = (np.clip(bound[:, None], self.first, self.last) for bound in (low, high))
        return (start - self.origin) / self.scale, (stop - self.origin) / self.scale


def interval_means(x: Floats, y: Floats, low: Floats, high: Floats, method: Method) -> Floats:
    """Return the mean over [low, high] of the interpolant of each row.

    Args:
        x: abscissae, strictly increasing along the row, shape (B, P), P at least 3 (4 for cubic).
        y: ordinates, shape (B, P).
        low: lower bounds, within the row's x, shape (B,).
        high: upper bounds, above `low` and within the row's x, shape (B,).
        method: ``pchip`` (Fritsch and Butland, 1984, as in MATLAB and SciPy), ``akima`` (Akima, 1970) or
            ``cubic`` (one least-squares cubic over all points: Bjøntegaard's original, VCEG-M33).

    Returns:
        Shape (B,).
    """
    pieces = _pieces(x, y, method)
    c0, c1, c2, c3 = pieces.coefficients

    def antiderivative(s: Floats) -> Floats:
        return s * (c0 + s * (c1 / 2 + s * (c2 / 3 + s * (c3 / 4))))

    start, stop = pieces.within(low, high)
    total: Floats = (pieces.scale * (antiderivative(stop) - antiderivative(start))).sum(axis=1)
    return total / (high - low)


def falls_at(x: Floats, y: Floats, low: Floats, high: Floats, method: Method) -> Floats:
    """Return where in [low, high] the interpolant of each row falls most steeply, NaN where it never falls.

    `pchip` of rising points never does; `akima` and `cubic` may, between points that all rise.

    Args:
        x: as for `interval_means`, and so are the other arguments.
        y: ordinates, rising along the row.
        low: lower bounds.
        high: upper bounds.
        method: the interpolation.

    Returns:
        Abscissae, shape (B,).
    """
    pieces = _pieces(x, y, method)
    _, c1, c2, c3 = pieces.coefficients
    start, stop = pieces.within(low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(c3 > 0, -c2 / (3 * c3), start)  # where the slope, a parabola in s, is least
    at = np.stack([start, stop, np.clip(vertex, start, stop)])
    slopes = (c1 + at * (2 * c2 + at * 3 * c3)) / pieces.scale
    slopes = np.where(stop > start, slopes, np.inf)
    places = pieces.origin + at * pieces.scale
    # (3, B, K) to (B, 3 K): the steepest fall of the row
    slopes, places = (np.moveaxis(values, 0, 1).reshape(len(x), -1) for values in (slopes, places))
    steepest = slopes.argmin(axis=1)[:, None]
    slope, place = (np.take_along_axis(values, steepest, axis=1)[:, 0] for values in (slopes, places))
    rise = np.ptp(y, axis=1) / np.ptp(x, axis=1)
    return np.where(slope < -_FLAT * rise, np.clip(place, low, high), np.nan)


def _pieces(x: Floats, y: Floats, method: Method) -> _Pieces:
    if method == "cubic":
        return _cubic(x, y)
    slopes = _pchip_slopes(x, y) if method == "pchip" else _akima_slopes(x, y)
    h = np.diff(x, axis=1)
    m = np.diff(y, axis=1) / h
    # the Hermite cubic of each piece, in s = t - x_i
    c2 = (3 * m - 2 * slopes[:, :-1] - slopes[:, 1:]) / h
    c3 = (slopes[:, :-1] + slopes[:, 1:] - 2 * m) / h**2
    return _Pieces(x[:, :-1], x[:, 1:], x[:, :-1], np.ones_like(h), (y[:, :-1], slopes[:, :-1], c2, c3))


def _pchip_slopes(x: Floats, y: Floats) -> Floats:
    h = np.diff(x, axis=1)
    m = np.diff(y, axis=1) / h
    slopes = np.empty_like(y)
    left, right = m[:, :-1], m[:, 1:]
    w1, w2 = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        harmonic = (w1 + w2) / (w1 / left + w2 / right)
    slopes[:, 1:-1] = np.where(left * right > 0, harmonic, 0.0)
    slopes[:, 0] = _pchip_end(h[:, 0], h[:, 1], m[:, 0], m[:, 1])
    slopes[:, -1] = _pchip_end(h[:, -1], h[:, -2], m[:, -1], m[:, -2])
    return slopes


def _pchip_end(h0: Floats, h1: Floats, m0: Floats, m1: Floats) -> Floats:
    """Return the one-sided, shape-preserving slope at an end point."""
    slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    overshoots = (np.sign(m0) != np.sign(m1)) & (np.abs(slope) > 3 * np.abs(m0))
    slope = np.where(overshoots, 3 * m0, slope)
    return np.where(np.sign(slope) != np.sign(m0), 0.0, slope)


def _akima_slopes(x: Floats, y: Floats) -> Floats:
    inner = np.diff(y, axis=1) / np.diff(x, axis=1)
    m = np.empty((len(x), x.shape[1] + 3))
    m[:, 2:-2] = inner
    # Akima's two extra slopes at either end continue the parabola
    m[:, 1] = 2 * m[:, 2] - m[:, 3]
    m[:, 0] = 2 * m[:, 1] - m[:, 2]
    m[:, -2] = 2 * m[:, -3] - m[:, -4]
    m[:, -1] = 2 * m[:, -2] - m[:, -3]
    change = np.abs(np.diff(m, axis=1))
    after, before = change[:, 2:], change[:, :-2]
    weight = after + before
    slopes: Floats = 0.5 * (m[:, 3:] + m[:, :-3])
    bends = weight > 1e-9 * weight.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted = (after * m[:, 1:-2] + before * m[:, 2:-1]) / weight
    return np.where(bends, weighted, slopes)


def _cubic(x: Floats, y: Floats) -> _Pieces:
    # centred and scaled: the normal powers of x are nearly dependent over a narrow range
    centre, scale = x.mean(axis=1, keepdims=True), np.ptp(x, axis=1)[:, None]
    powers = ((x - centre) / scale)[:, :, None] ** np.arange(4)
    c0, c1, c2, c3 = np.moveaxis(np.linalg.pinv(powers) @ y[:, :, None], 1, 0)
    return _Pieces(x[:, :1], x[:, -1:], centre, scale, (c0, c1, c2, c3))
