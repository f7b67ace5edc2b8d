"""Gates: conditions on comparisons that fail a build, and fail it too where they cannot be told."""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rdbench.bd import BDResult
from rdbench.compare import Comparison
from rdbench.curves import metric_info
from rdbench.errors import BenchError, did_you_mean
from rdbench.text import counted

LEAST_OVERLAP = 0.5
"""A BD figure that speaks for less of the curves' joint range than this decides no bound, unless the user says so."""


class BoundError(BenchError):
    """A bound that cannot be read."""


@dataclass(frozen=True)
class Accepted:
    """How much must have been compared for a bound to be told.

    Attributes:
        overlap: least share of the joint range that both curves cover, for bounds on BD figures of mean curves.
        coverage: least share of what was planned; 0 also accepts means over another dataset.
    """

    overlap: float = LEAST_OVERLAP
    coverage: float = 1.0


_Kind = Literal["rate", "quality", "images", "count", "overlap", "time", "facts"]


@dataclass(frozen=True)
class _Figure:
    kind: _Kind
    value: Callable[[Comparison], float]


def _of(result: BDResult | None, name: str) -> float:
    return np.nan if result is None else float(getattr(result, name))


_FIGURES: dict[str, _Figure] = {
    "bd_rate": _Figure("rate", lambda c: _of(c.bd_rate, "value")),
    "bd_rate_low": _Figure("rate", lambda c: _of(c.bd_rate, "low")),
    "bd_rate_high": _Figure("rate", lambda c: _of(c.bd_rate, "high")),
    "bd_quality": _Figure("quality", lambda c: _of(c.bd_quality, "value")),
    "bd_quality_low": _Figure("quality", lambda c: _of(c.bd_quality, "low")),
    "bd_quality_high": _Figure("quality", lambda c: _of(c.bd_quality, "high")),
    "bd_quality_percent": _Figure("quality", lambda c: _of(c.bd_quality, "percent")),
    "bd_rate_images": _Figure("images", lambda c: c.bd_rate_images.value),
    "bd_rate_images_low": _Figure("images", lambda c: c.bd_rate_images.low),
    "bd_rate_images_high": _Figure("images", lambda c: c.bd_rate_images.high),
    "wins": _Figure("count", lambda c: float(c.wins) if c.by_image else np.nan),
    "losses": _Figure("count", lambda c: float(c.losses) if c.by_image else np.nan),
    "overlap": _Figure("overlap", lambda c: c.overlap),
    "coverage": _Figure("facts", lambda c: c.coverage),
    "failed": _Figure("facts", lambda c: _total(c.failed)),
    "encode_ratio": _Figure("time", lambda c: c.encode_ratio),
    "decode_ratio": _Figure("time", lambda c: c.decode_ratio),
}


def _total(failed: tuple[float, float]) -> float:
    """Return the failed cells of both curves; a published one has none, two of them are not known."""
    return float(np.nan if np.isnan(failed).all() else np.nansum(failed))


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_BOUND = re.compile(
    r"\s*(?P<figure>\w+)\s*(?:\(\s*(?P<metric>\w+)\s*\))?\s*(?P<operator>[<>]=?)"
    r"\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*%?\s*"
)


@dataclass(frozen=True)
class Bound:
    """A condition on a comparison, such as ``bd_rate(st_lpips_alex) > 2``.

    Attributes:
        text: as it was written.
        figure: of a metric: ``bd_rate`` (mean curves), ``bd_rate_images`` (mean over images), their ``_low`` and
            ``_high``, ``bd_quality`` with ``_low``, ``_high`` and ``_percent``. Of a metric, or of every one that was
            compared: ``wins``, ``losses`` (images), ``overlap``, ``coverage`` (0 to 1), ``failed`` (cells of both
            curves). Of none: ``encode_ratio``, ``decode_ratio``.
        metric: the metric, or empty.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        number: what the figure is held against.
    """

    text: str
    figure: str
    metric: str
    operator: str
    number: float

    @classmethod
    def parse(cls, text: str) -> "Bound":
        """Read a bound.

        Raises:
            BoundError: it is malformed, or names an unknown figure.
            CurveError: it names an unknown metric.
        """
        match = _BOUND.fullmatch(text)
        if match is None or not np.isfinite(float(match["number"])):
            raise BoundError(f"cannot read '{text}': write a bound like 'bd_rate(psnr) > 2'")
        figure, metric = match["figure"], match["metric"] or ""
        if figure not in _FIGURES:
            raise BoundError(did_you_mean("figure", figure, _FIGURES))
        kind = _FIGURES[figure].kind
        if kind == "time" and metric:
            raise BoundError(f"'{figure}' takes no metric: write '{figure} > {match['number']}'")
        if kind in ("rate", "quality", "images") and not metric:
            raise BoundError(f"'{figure}' needs a metric: write '{figure}(psnr) > {match['number']}'")
        if metric:
            metric_info(metric)
        return cls(text.strip(), figure, metric, match["operator"], float(match["number"]))

    def failures(self, comparisons: Iterable[Comparison], accepted: Accepted | None = None) -> list[str]:
        """Return a line for each comparison of which the condition is true, or cannot be told; none passes.

        Args:
            comparisons: of one or several curves and metrics; those of other metrics than the bound's are ignored.
            accepted: how much must have been compared.
        """
        accepted = accepted or Accepted()
        mine = [c for c in comparisons if not self.metric or c.metric == self.metric]
        if not mine:
            what = f"{self.metric} was not" if self.metric else "no metric was"
            return [f"{self.text}: cannot be told: {what} compared"]
        lines = []
        for comparison in mine:
            of = f"{comparison.new}" if self.metric else f"{comparison.new}, {comparison.metric}"
            if reasons := self._doubts(comparison, accepted):
                lines.append(f"{self.text}: cannot be told for '{of}': {'; '.join(reasons)}")
            elif _OPERATORS[self.operator](value := self._value(comparison), self.number):
                lines.append(f"{self.text}: it is {value:.6g} for '{of}'")
        return lines

    def _value(self, comparison: Comparison) -> float:
        return _FIGURES[self.figure].value(comparison)

    def _doubts(self, comparison: Comparison, accepted: Accepted) -> list[str]:
        """Return why the condition cannot be told of a comparison, each reason in a few words."""
        kind = _FIGURES[self.figure].kind
        value = self._value(comparison)
        reasons = []
        if kind != "facts":
            reasons += _missing(comparison, accepted)
        result = {"rate": comparison.bd_rate, "quality": comparison.bd_quality}.get(kind)
        if result is not None and not result.overlap >= accepted.overlap:
            what = "quality" if kind == "rate" else "rate"
            reasons.append(
                f"the curves share only {100 * result.overlap:.3g} % of their {what} range (--min-overlap accepts less)"
            )
        own = comparison.bd_rate_images
        if kind == "images" and own.n_images < accepted.coverage * own.of:
            reasons.append(f"only {own.n_images} of {own.of} images have a BD-rate of their own")
        if kind == "count" and not np.isnan(value):
            holds = {_OPERATORS[self.operator](value + more, self.number) for more in range(comparison.undefined + 1)}
            if len(holds) > 1:
                of = len(comparison.by_image)
                reasons.append(f"{comparison.undefined} of {of} images have no BD-rate of their own")
        if np.isnan(value):
            reasons += comparison.notes or ("the figure is not known",)
        return list(dict.fromkeys(reasons))


def _missing(comparison: Comparison, accepted: Accepted) -> list[str]:
    """Return what is missing in a comparison, and whose it is."""
    if comparison.mismatch and accepted.coverage > 0:
        return [f"{comparison.mismatch} (--min-coverage 0 accepts it)"]
    if np.isnan(comparison.coverage) or comparison.coverage >= accepted.coverage:
        return []
    names = (comparison.base, comparison.new)
    failed = [
        f"{counted(round(count), 'cell')} of '{name}' failed"
        for name, count in zip(names, comparison.failed, strict=True)
        if count > 0
    ]
    share = f"coverage is {comparison.coverage:.4g} of what was planned (--min-coverage accepts less)"
    return [*failed, share, *(note for note in comparison.notes if " images of '" in note or "left out" in note)]
