"""The figures that the paper's claims are of, each with an interval over the images, paired."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from rdbench.bd import BDResult, bd_quality, bd_rate, paired_curves
from rdbench.curves import Curve, CurveData, common_images, metric_info
from rdbench.errors import BenchError
from rdbench.integrals import interval_means
from rdbench.stats import jackknife_interval, leave_one_out

Floats = npt.NDArray[np.float64]
Points = tuple[Floats, Floats]
"""Rate (or its log10), and quality (negated where lower is better), of a batch of curves, each of shape (B, P)."""

_PIECES = 64
"""Into so many equal pieces the common quality range is cut to look for the largest saving."""


class EstimateError(BenchError):
    """There is no such figure for these curves."""


@dataclass(frozen=True)
class Estimate:
    """A measured figure.

    Attributes:
        value: the figure, in `unit`.
        low: lower end of its 95 % interval; NaN where there is none.
        high: the upper end.
        unit: ``%``, ``dB``, or empty for a metric without a unit.
        n_images: images averaged.
        notes: what a reader must know beside it.
    """

    value: float
    low: float
    high: float
    unit: str
    n_images: int
    notes: tuple[str, ...] = ()


def rate_at_equal_quality(anchor: CurveData, test: CurveData, metric: str) -> Estimate:
    """Return the BD-rate in percent, negative where `test` needs fewer bits: `rdbench.bd.bd_rate`.

    Raises:
        BenchError: there is none; the message says why.
    """
    first, second, notes = paired_curves(anchor, test, metric)
    return _of_bd(bd_rate(first, second), "%", notes)


def quality_at_equal_rate(anchor: CurveData, test: CurveData, metric: str) -> Estimate:
    """Return the BD-quality in the metric's own units: `rdbench.bd.bd_quality`.

    Raises:
        BenchError: there is none; the message says why.
    """
    first, second, notes = paired_curves(anchor, test, metric)
    return _of_bd(bd_quality(first, second), metric_info(metric).unit, notes)


def relative_quality(anchor: CurveData, test: CurveData, metric: str) -> Estimate:
    """Return the BD-quality as a share of the anchor's mean quality, in percent: positive where `test` is better.

    Both means are over log rate, over the rates that both curves cover; so a BD-LPIPS of -0.02 against an anchor
    whose mean LPIPS there is 0.2 is +10 %. It is `BDResult.percent`, with an interval of the ratio itself.

    Raises:
        BenchError: there is none; the message says why.
    """
    first, second, notes = paired_curves(anchor, test, metric)
    notes += bd_quality(first, second, interval=False).notes  # raises what a figure cannot be had for

    def statistic(a: Points, t: Points) -> Floats:
        def share(low: Floats, high: Floats, a: Points, t: Points) -> Floats:
            mean = interval_means(*a, low, high, "pchip")
            percent: Floats = 100 * (interval_means(*t, low, high, "pchip") - mean) / np.abs(mean)
            return percent

        return _over_common(a, t, share)

    return _estimate(first, second, statistic, notes)


def largest_saving(anchor: CurveData, test: CurveData, metric: str) -> Estimate:
    """Return the most bits that `test` saves at any quality that both curves reach, in percent of the anchor's.

    It is the best BD-rate, with its sign turned, over any one of 64 equal pieces of the common quality range; nothing
    is extrapolated. Negative where `test` needs more bits at every quality.

    Raises:
        BenchError: there is none; the message says why.
    """
    first, second, notes = paired_curves(anchor, test, metric)
    notes += bd_rate(first, second, interval=False).notes  # raises what a figure cannot be had for

    def statistic(a: Points, t: Points) -> Floats:
        def most(low: Floats, high: Floats, a: Points, t: Points) -> Floats:
            edges = np.linspace(low, high, _PIECES + 1)
            ratios = [
                interval_means(*t, *piece, "pchip") - interval_means(*a, *piece, "pchip") for piece in pairwise(edges)
            ]
            percent: Floats = 100 * (10 ** np.min(ratios, axis=0) - 1)
            return percent

        return _over_common(a[::-1], t[::-1], most)

    found = _estimate(first, second, statistic, notes, percent=True)
    return replace(found, value=-found.value, low=-found.high, high=-found.low)


@dataclass(frozen=True)
class Paired:
    """Two ways to decode the same bitstreams, image by image.

    Attributes:
        bpp: mean bits per pixel of the R rates that both have, ascending, shape (R,).
        difference: the metric of the second less that of the first, in the metric's units, shape (N, R).
        metric: its name.
    """

    bpp: Floats
    difference: Floats
    metric: str

    def mean(self, rates: npt.NDArray[np.bool_], notes: Iterable[str] = ()) -> Estimate:
        """Return the mean difference over images and some of the rates (a mask, shape (R,)).

        Raises:
            EstimateError: there is none of these rates.
        """
        if not rates.any():
            spans = f"{self.bpp.min():.3g} to {self.bpp.max():.3g} bpp"
            raise EstimateError(f"no rate in the range that the claim is about; measured were {spans}")
        by_image = self.difference[:, rates].mean(axis=1)
        value = float(by_image.mean())
        without = leave_one_out(by_image) if len(by_image) > 1 else by_image
        low, high, why = jackknife_interval(value, without)
        return Estimate(value, low, high, metric_info(self.metric).unit, len(by_image), (*notes, *filter(None, [why])))


def pair_decodes(first: CurveData, second: CurveData, metric: str) -> Paired:
    """Return the difference that another number of steps makes to the same bitstreams.

    Raises:
        EstimateError: the two share no image or no rate, or were not decoded from the same bitstreams.
    """
    images = common_images([first, second], metric)
    if not images:
        raise EstimateError(f"'{first.name}' and '{second.name}' have no image with {metric} at every rate in common")
    curves = [data.curve(metric, images).finite() for data in (first, second)]
    shared = [rate for rate in curves[0].rates.tolist() if rate in set(curves[1].rates.tolist())]
    if not shared:
        raise EstimateError(f"'{first.name}' and '{second.name}' have no rate in common")
    (bpp, quality), (other_bpp, other_quality) = (_at_rates(curve, shared) for curve in curves)
    if not np.allclose(bpp, other_bpp, rtol=1e-4):
        raise EstimateError(f"'{first.name}' and '{second.name}' were not decoded from the same bitstreams")
    return Paired(bpp.mean(axis=0), other_quality - quality, metric)


def _at_rates(curve: Curve, rates: list[float]) -> Points:
    """Return bpp and quality by image at some of a curve's rates, each of shape (N, R)."""
    bpp, quality = _tables(curve)
    columns = [curve.rates.tolist().index(rate) for rate in rates]
    return bpp[:, columns], quality[:, columns]


def _tables(curve: Curve) -> Points:
    if curve.image_bpp is None or curve.image_quality is None:
        raise EstimateError(f"'{curve.name}' has dataset means only")
    return curve.image_bpp, curve.image_quality


def _of_bd(result: BDResult, unit: str, notes: tuple[str, ...]) -> Estimate:
    return Estimate(result.value, result.low, result.high, unit, result.n_images, (*notes, *result.notes))


def _estimate(
    anchor: Curve,
    test: Curve,
    statistic: Callable[[Points, Points], Floats],
    notes: tuple[str, ...],
    *,
    percent: bool = False,
) -> Estimate:
    """Return a statistic of two curves in percent, with the interval that BD figures have.

    Args:
        anchor: the curve compared against.
        test: the curve compared, over the same images.
        statistic: gets the figure, shape (B,), NaN where there is none, of B pairs of mean curves.
        notes: to be handed on.
        percent: it is the change of a ratio; see `jackknife_interval`.
    """
    sign = 1.0 if metric_info(anchor.metric).higher_is_better else -1.0
    images = anchor.n_images
    points = []
    for curve in (anchor, test):
        # the mean curve, and those without each image in turn
        means = (np.vstack([t.mean(axis=0), leave_one_out(t) if images > 1 else t]) for t in _tables(curve))
        bpp, quality = means
        points.append((np.log10(bpp), sign * quality))
    value, *without = statistic(*points).tolist()
    if np.isnan(value):
        raise EstimateError(f"there is no such figure for '{anchor.name}' and '{test.name}'")
    low, high, why = jackknife_interval(value, np.array(without), percent=percent)
    return Estimate(value, low, high, "%", images, (*notes, *filter(None, [why])))


def _over_common(anchor: Points, test: Points, figure: Callable[[Floats, Floats, Points, Points], Floats]) -> Floats:
    """Return a figure of each pair of curves over the abscissae that both cover, NaN for pairs that have none.

    Args:
        anchor: abscissae and ordinates of B curves, each of shape (B, P).
        test: the same of those compared with them.
        figure: gets the figure, given lower and upper end of the common range, shape (B,), and the curves.
    """
    low, high = np.maximum(anchor[0][:, 0], test[0][:, 0]), np.minimum(anchor[0][:, -1], test[0][:, -1])
    usable = low < high
    for values in (*anchor, *test):
        usable &= (np.diff(values, axis=1) > 0).all(axis=1)
    result = np.full(len(usable), np.nan)
    if usable.any():
        kept = [(x[usable], y[usable]) for x, y in (anchor, test)]
        result[usable] = figure(low[usable], high[usable], *kept)
    return result
