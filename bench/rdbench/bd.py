"""Bjøntegaard deltas: BD-rate, BD-quality, their overlap, and a confidence interval.

The point estimates are those of the `bjontegaard` package, given what it does not check for itself: points
sorted by rate, lower-is-better metrics negated, and none of the inputs for which it returns a number that
means nothing. Each of those inputs is an error of its own here.

G. Bjøntegaard, "Calculation of average PSNR differences between RD-curves", ITU-T VCEG-M33, 2001; C. Herglotz
et al., "The Bjøntegaard Bible: why your way of comparing video codecs may be wrong", IEEE Trans. Image
Processing, 2024.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rdbench.curves import Curve, CurveSource, metric_info
from rdbench.errors import BenchError, did_you_mean
from rdbench.integrals import Method, falls_at, interval_means
from rdbench.stats import MIN_IMAGES, jackknife_interval, leave_one_out
from rdbench.text import counted

Floats = npt.NDArray[np.float64]
Kind = Literal["rate", "quality"]
Points = tuple[Floats, Floats]
"""bpp and quality (negated where lower is better) of a batch of curves, each of shape (B, P)."""

MIN_POINTS = {"pchip": 3, "akima": 3, "cubic": 4}
"""Fewest points a method takes. Two would do for a straight line between them, which says little."""
MIN_OVERLAP = 0.75
"""A figure from curves that share less of their range than this carries a warning."""


class BDError(BenchError):
    """There is no Bjøntegaard figure for these curves."""


class TooFewPointsError(BDError):
    """A curve has fewer points than the method needs."""


class NoOverlapError(BDError):
    """The curves have no quality (BD-rate) or no rate (BD-quality) in common."""


class NotMonotoneError(BDError):
    """Quality does not grow with rate, two points have the same rate, or the fit through the points turns back."""


class ZeroRateError(BDError):
    """A point has no bits, or fewer; its logarithm is not a number."""


class NotFiniteError(BDError):
    """A point is infinite (lossless, for PSNR) or not a number."""


@dataclass(frozen=True)
class BDResult:
    """A Bjøntegaard figure.

    Attributes:
        kind: ``rate`` or ``quality``.
        anchor: name of the curve compared against.
        test: name of the curve compared.
        metric: the quality metric.
        value: the figure, in `unit`.
        unit: ``%`` for BD-rate; the metric's unit for BD-quality, ``raw`` where it has none.
        low: lower end of the 95 % confidence interval, in `unit`; NaN where there is none.
        high: its upper end.
        percent: BD-quality as a share of the anchor's mean quality over the same rates, in percent, positive
            where the test is better; NaN for BD-rate, and where that mean is not positive.
        overlap: share of the curves' joint range that both cover, 0 to 1: intersection over union of the
            quality ranges for BD-rate, of the log-rate ranges for BD-quality (as `bjontegaard` defines it).
        n_images: images averaged in both curves; 0 where that is not known.
        method: the interpolation.
        notes: what a reader must know beside the figure, a line each.
    """

    kind: Kind
    anchor: str
    test: str
    metric: str
    value: float
    unit: str
    low: float
    high: float
    percent: float
    overlap: float
    n_images: int
    method: Method
    notes: tuple[str, ...] = ()


def bd_rate(anchor: Curve, test: Curve, *, method: Method = "pchip", interval: bool = True) -> BDResult:
    """Return the mean rate difference at equal quality, in percent: negative where `test` needs fewer bits.

    The difference of log rate is averaged over the quality both curves reach. Curves of known images are
    first restricted to their common ones. The 95 % confidence interval is `jackknife_interval` over these images,
    paired: each is left out of both curves at once. It needs six images, and is withheld (NaN, with a note) where
    the curves without one of the images are not monotone or do not overlap.

    Args:
        anchor: the curve to compare against.
        test: the curve to compare.
        method: ``pchip``, ``akima``, or ``cubic`` (one cubic through all points).
        interval: whether to compute the interval.

    Raises:
        TooFewPointsError: fewer than three points (four for cubic).
        ZeroRateError: a bpp of zero or below.
        NotFiniteError: an infinite or undefined point; `Curve.finite` leaves lossless ones out.
        NotMonotoneError: quality does not strictly grow with rate, or what interpolates it (``cubic`` and
            ``akima`` may do so between points that all rise) turns back where both curves are.
        NoOverlapError: no quality in common.
        BDError: the curves are of different metrics, or have no image in common.
    """
    return _Pair(anchor, test, method, interval).delta("rate")


def bd_quality(anchor: Curve, test: Curve, *, method: Method = "pchip", interval: bool = True) -> BDResult:
    """Return the mean quality difference at equal rate, in the metric's own units: BD-PSNR, BD-LPIPS ...

    The sign is that of the difference test minus anchor in the metric's own units. So positive BD-PSNR is
    better, and *negative* BD-LPIPS is better, as lower LPIPS is. `BDResult.percent` is positive where the
    test is better, whatever the metric. Everything else is as for `bd_rate`, with rate and quality exchanged;
    log rate is averaged over.

    Raises:
        BDError: as for `bd_rate`.
    """
    return _Pair(anchor, test, method, interval).delta("quality")


def image_bd_rates(anchor: Curve, test: Curve, *, method: Method = "pchip") -> Floats:
    """Return the BD-rate of each image on its own, in percent, for two curves over the same images.

    Returns:
        Shape (N,). Infinite where an image's curves share no quality and it is clear who is ahead: `inf` where
        `test` is worse at every rate that both reach, `-inf` where it is better. NaN where an image's curves are
        not monotone or not finite, or share neither quality nor rate.

    Raises:
        BDError: the curves are not over the same images, or have too few points.
    """
    if anchor.image_bpp is None or test.image_bpp is None or anchor.images != test.images:
        raise BDError(f"'{anchor.name}' and '{test.name}' are not known image by image for the same images")
    for curve in (anchor, test):
        _check_count(curve, method)
    base, other = _image_points(anchor), _image_points(test)
    values = batch_deltas("rate", base, other, method)
    for ahead, behind, sign in ((base, other, np.inf), (other, base, -np.inf)):
        values[np.isnan(values) & _never_reaches(ahead, behind)] = sign
    return values


def _never_reaches(ahead: Points, behind: Points) -> npt.NDArray[np.bool_]:
    """Return for which rows every quality of `behind` is below all of `ahead`, at rates where `ahead` has some."""
    apart = behind[1].max(axis=1) <= ahead[1].min(axis=1)
    return np.asarray(apart & (behind[0].max(axis=1) >= ahead[0].min(axis=1)), dtype=bool)


@dataclass(frozen=True)
class ImageMean:
    """The mean over images of the BD-rate of each image on its own: what JVET, AOM and JPEG report.

    Attributes:
        value: the mean, in percent; NaN where no image has one.
        low: lower end of its 95 % interval; NaN where there is none.
        high: its upper end.
        n_images: images that have a BD-rate of their own, over which the mean is.
        of: images that were compared.
    """

    value: float
    low: float
    high: float
    n_images: int
    of: int


NO_IMAGES = ImageMean(np.nan, np.nan, np.nan, 0, 0)


def image_mean(values: Floats) -> ImageMean:
    """Return the mean of the images' own BD-rates (`image_bd_rates`), over those that are finite."""
    known = values[np.isfinite(values)]
    if not known.size:
        return ImageMean(np.nan, np.nan, np.nan, 0, len(values))
    value = float(known.mean())
    low, high = (np.nan, np.nan)
    if len(known) > 1:
        low, high, _ = jackknife_interval(value, leave_one_out(known), percent=True)
    return ImageMean(value, low, high, len(known), len(values))


def paired_curves(base: CurveSource, test: CurveSource, metric: str) -> tuple[Curve, Curve, tuple[str, ...]]:
    """Return the curves of two sources over their common images, without lossless points, and notes on both.

    A note is on the curve that lacks something, not on the one that is restricted with it.

    Raises:
        CurveError: one has no such curve.
        BDError: they have no image in common.
    """
    own = base.curve(metric), test.curve(metric)
    notes = []
    for curve in own:
        if curve.left_out:
            rates = ", ".join(f"{rate:g}" for rate in curve.left_out)
            notes.append(f"rate {rates} of '{curve.name}' left out: too few images have it")
        if curve.images and curve.n_images < curve.attempted:
            notes.append(f"{curve.n_images} of {curve.attempted} images of '{curve.name}'")
    curves = _common(*own)
    if curves[0].images and curves[0].n_images < min(curve.n_images for curve in own):
        notes.append(f"{curves[0].n_images} images in common")
    finite = [curve.finite() for curve in curves]
    for curve, kept in zip(curves, finite, strict=True):
        if lost := len(curve.bpp) - len(kept.bpp):
            notes.append(f"{counted(lost, 'lossless point')} of '{curve.name}' left out")
    return finite[0], finite[1], tuple(notes)


class _Pair:
    """Two curves made comparable."""

    def __init__(self, anchor: Curve, test: Curve, method: Method, interval: bool) -> None:
        if method not in get_args(Method):
            raise BDError(did_you_mean("BD method", method, get_args(Method)))
        if anchor.metric != test.metric:
            raise BDError(f"'{anchor.name}' is a curve of {anchor.metric}, '{test.name}' one of {test.metric}")
        self.anchor, self.test = _common(anchor, test)
        for curve in (self.anchor, self.test):
            _check(curve, method)
        self.method, self.interval = method, interval
        self.sign = _sign(anchor.metric)

    def delta(self, kind: Kind) -> BDResult:
        """Return the figure; raises `NoOverlapError`, and `NotMonotoneError` for a fit that turns back."""
        anchor, test, sign = self.anchor, self.test, self.sign
        low, high, overlap = _overlap(kind, anchor, test)
        for curve in (anchor, test):
            _check_fit(kind, curve, low, high, self.method)

        import bjontegaard  # it imports pyplot, which takes longer than most commands run

        given = (anchor.bpp, sign * anchor.quality, test.bpp, sign * test.quality)
        settings = {"method": self.method, "require_matching_points": False, "min_overlap": 0}
        percent = np.nan
        if kind == "rate":
            value = float(bjontegaard.bd_rate(*given, **settings))
        else:
            value = sign * float(bjontegaard.bd_psnr(*given, **settings)) + 0.0  # never -0.0
            x, y = np.log10(anchor.bpp), anchor.quality
            bounds = np.array([low]), np.array([high])
            mean = float(interval_means(x[None], y[None], *bounds, self.method)[0])
            percent = sign * 100 * value / mean if mean > 0 else np.nan

        low, high, note = self._interval(kind, value)
        notes = [note] if note else []
        if overlap < MIN_OVERLAP:
            shared = "quality" if kind == "rate" else "rate"
            share = f"{100 * overlap:.0f} %"
            notes.insert(0, f"BD-{kind}: the curves share only {share} of their {shared} range")
        return BDResult(
            kind=kind,
            anchor=anchor.name,
            test=test.name,
            metric=anchor.metric,
            value=value,
            unit=_unit(kind, anchor.metric),
            low=low,
            high=high,
            percent=percent,
            overlap=overlap,
            n_images=max(anchor.n_images, test.n_images),
            method=self.method,
            notes=tuple(notes),
        )

    def _interval(self, kind: Kind, value: float) -> tuple[float, float, str]:
        """Return the ends of the 95 % interval, and why there is none where there is none."""
        if not self.interval:
            return np.nan, np.nan, ""
        if self.anchor.image_bpp is None or self.test.image_bpp is None:
            return np.nan, np.nan, "no interval: dataset means only"
        if self.anchor.n_images < 2:
            return jackknife_interval(value, np.full(self.anchor.n_images, value))
        (a, b), (c, d) = (map(leave_one_out, _image_points(curve)) for curve in (self.anchor, self.test))
        without = batch_deltas(kind, (a, b), (c, d), self.method)
        if kind == "quality":
            without = self.sign * without
        low, high, note = jackknife_interval(value, without, percent=kind == "rate")
        return low, high, f"BD-{kind}: {note}" if note and self.anchor.n_images >= MIN_IMAGES else note


def _unit(kind: Kind, metric: str) -> str:
    return "%" if kind == "rate" else metric_info(metric).unit or "raw"


def _sign(metric: str) -> float:
    return 1.0 if metric_info(metric).higher_is_better else -1.0


def _common(anchor: Curve, test: Curve) -> tuple[Curve, Curve]:
    """Return both curves over the images that both have, where they know their images."""
    if anchor.images == test.images or not anchor.images or not test.images:
        return anchor, test
    both = sorted(set(anchor.images) & set(test.images))
    if not both:
        raise BDError(f"'{anchor.name}' and '{test.name}' have no image in common")
    return anchor.restrict(both), test.restrict(both)


def _check_count(curve: Curve, method: Method) -> None:
    if len(curve.bpp) < MIN_POINTS[method]:
        raise TooFewPointsError(
            f"too few points: '{curve.name}' has {len(curve.bpp)}, {method} needs {MIN_POINTS[method]}"
        )


def _check(curve: Curve, method: Method) -> None:
    """Raise the error that says why a curve cannot enter a Bjøntegaard figure."""
    _check_count(curve, method)
    if (curve.bpp <= 0).any():
        raise ZeroRateError(f"zero rate: '{curve.name}' has a point at {curve.bpp.min():g} bpp")
    infinite = ~np.isfinite(curve.quality) | ~np.isfinite(curve.bpp)
    if infinite.any():
        i = int(np.flatnonzero(infinite)[0])
        raise NotFiniteError(
            f"not finite: '{curve.name}' has {curve.metric} {curve.quality[i]:g} at {curve.bpp[i]:.4g} bpp; "
            "leave lossless points out"
        )
    quality = curve.quality * _sign(curve.metric)
    falls = np.flatnonzero((np.diff(quality) <= 0) | (np.diff(curve.bpp) <= 0))
    if len(falls):
        i = int(falls[0])
        raise NotMonotoneError(
            f"not monotone: {curve.metric} of '{curve.name}' goes from {curve.quality[i]:.5g} to "
            f"{curve.quality[i + 1]:.5g} between {curve.bpp[i]:.4g} and {curve.bpp[i + 1]:.4g} bpp"
        )


def _overlap(kind: Kind, anchor: Curve, test: Curve) -> tuple[float, float, float]:
    """Return the common range of the variable that is averaged over, and its share of the joint range."""
    sign = _sign(anchor.metric)
    a, t = (sign * c.quality if kind == "rate" else np.log10(c.bpp) for c in (anchor, test))
    low, high = float(max(a[0], t[0])), float(min(a[-1], t[-1]))
    if low >= high:
        what = anchor.metric if kind == "rate" else "bpp"
        ranges = [c.quality if kind == "rate" else c.bpp for c in (anchor, test)]
        spans = [f"{r.min():.4g} to {r.max():.4g}" for r in ranges]
        raise NoOverlapError(f"no overlap: {what} of '{anchor.name}' is {spans[0]}, of '{test.name}' {spans[1]}")
    return low, high, (high - low) / float(max(a[-1], t[-1]) - min(a[0], t[0]))


def _check_fit(kind: Kind, curve: Curve, low: float, high: float, method: Method) -> None:
    """Raise where the interpolant falls between `low` and `high`: it would count the same quality or rate twice."""
    quality, log_rate = _sign(curve.metric) * curve.quality, np.log10(curve.bpp)
    x, y = (quality, log_rate) if kind == "rate" else (log_rate, quality)
    place = float(falls_at(x[None], y[None], np.array([low]), np.array([high]), method)[0])
    if not np.isnan(place):
        where = f"{curve.metric} {_sign(curve.metric) * place:.4g}" if kind == "rate" else f"{10**place:.4g} bpp"
        raise NotMonotoneError(
            f"not monotone: the {method} fit of '{curve.name}' turns back at {where}, between points that do not; "
            "use pchip, or more points"
        )


def _image_points(curve: Curve) -> Points:
    if curve.image_bpp is None or curve.image_quality is None:
        raise BDError(f"'{curve.name}' has dataset means only")
    return curve.image_bpp, curve.image_quality * _sign(curve.metric)


def batch_deltas(kind: Kind, anchor: Points, test: Points, method: Method) -> Floats:
    """Return the delta of each pair of B pairs of curves: percent of rate, or signed quality; shape (B,), NaN for none.

    NaN where one of the two has a point that is infinite, without bits or not monotone, where they do not overlap, and
    where a fit turns back within the overlap.
    """
    usable = np.ones(len(anchor[0]), bool)
    axes = []
    for bpp, quality in (anchor, test):
        with np.errstate(invalid="ignore"):
            usable &= np.isfinite(quality).all(axis=1) & (bpp > 0).all(axis=1)
            usable &= (np.diff(quality, axis=1) > 0).all(axis=1) & (np.diff(bpp, axis=1) > 0).all(axis=1)
        log_rate = np.log10(np.where(bpp > 0, bpp, 1.0))
        axes.append((quality, log_rate) if kind == "rate" else (log_rate, quality))
    (xa, _), (xt, _) = axes
    with np.errstate(invalid="ignore"):
        low, high = np.maximum(xa[:, 0], xt[:, 0]), np.minimum(xa[:, -1], xt[:, -1])
        usable &= low < high
    result = np.full(len(usable), np.nan)
    if usable.any():
        bounds = (low[usable], high[usable], method)
        curves = [(x[usable], y[usable]) for x, y in axes]
        base, other = (interval_means(x, y, *bounds) for x, y in curves)
        turns_back = [~np.isnan(falls_at(x, y, *bounds)) for x, y in curves]
        delta = np.where(np.any(turns_back, axis=0), np.nan, other - base)
        result[usable] = 100 * (10**delta - 1) if kind == "rate" else delta
    return result
