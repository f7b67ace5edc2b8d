"""The paper's claims, the statistic that tests each, and the rule by which a measured interval decides it.

The claims and their figures are of "Generative Image Coding with Diffusion Prior" (arXiv 2509.13768), its abstract
and its supplementary material. Where the paper uses a word ("marginal", "comparable", "clearly"), the bound that
stands for the word is ours, set before there was a record of our codec, and part of the rule that every row carries.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from rdbench.curves import CurveData
from rdbench.errors import BenchError
from rdpaper.curves import PaperCurves
from rdpaper.estimates import (
    Estimate,
    largest_saving,
    pair_decodes,
    quality_at_equal_rate,
    rate_at_equal_quality,
    relative_quality,
)

STEPS = (5, 10, 20, 50)
"""The paper's step counts; 10 is its default."""
LOW_RATE = 0.1
"""bpp: the paper's "very low bitrates" lie below this, and what it says of 5 steps' PSNR above."""
MARGINAL = 7.5
"""Percent of BD-rate: what "up to around 7 %" is rounded from."""
SMALL_DB = 0.25
"""dB of PSNR between "stable" and "clearly lower": about what 7 % of the bits are worth to VVC at these rates."""
COMPARABLE = 0.02
"""MS-SSIM by which one may be below another and be "comparable": VVC gains it by 40 % more bits at 0.08 bpp."""
FAR = 0.05
"""MS-SSIM from which one is "far above" another."""


class Verdict(StrEnum):
    """What the measurements say of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNTESTED = "cannot be tested here"


@dataclass(frozen=True)
class Region:
    """The open interval in which a figure has to lie for a claim to hold."""

    low: float = -math.inf
    high: float = math.inf

    def words(self, unit: str) -> str:
        """Return it in words: "below 0 %", "within -0.25 and 0.25 dB"."""
        space = f" {unit}" if unit else ""
        if math.isinf(self.low):
            return f"below {self.high:g}{space}"
        if math.isinf(self.high):
            return f"above {self.low:g}{space}"
        return f"between {self.low:g} and {self.high:g}{space}"


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and how it is tested.

    Attributes:
        key: short name.
        text: what is claimed.
        document: the paper's figure, as it writes it.
        metric: the metric it is about; ``lpips`` is the one that stands for LPIPS.
        statistic: what is measured, in words, with ``{metric}`` for the metric's title.
        unit: of the statistic.
        region: where its whole 95 % interval lies if the claim holds.
        figure: lowest and highest value that the paper gives for the statistic, where it gives one: the
            claim's size, judged apart from its direction.
        estimate: gets the statistic from the measured curves, given the metric's name.
    """

    key: str
    text: str
    document: str
    metric: str
    statistic: str
    unit: str
    region: Region
    estimate: Callable[[PaperCurves, str], Estimate]
    figure: tuple[float, float] | None = None

    def test(self, metric: str) -> str:
        """Return what is measured and where it has to lie, in words, with the metric's title."""
        size = f"; size: {self._figure_words()}" if self.figure else ""
        return f"{self.statistic.format(metric=metric)}: {self.region.words(self.unit)}{size}"

    @property
    def rule(self) -> str:
        """When the claim holds, in words."""
        words = self.region.words(self.unit)
        partly = ", or only a part and it leaves out the paper's figure" if self.figure else ""
        return f"holds: the whole interval is {words}; does not: no part of it{partly}; else undecided"

    @property
    def size_rule(self) -> str:
        """When the size holds, in words; empty where the claim has none."""
        if self.figure is None:
            return ""
        return f"holds: the claim holds and {self._figure_words()}; does not: it is not; else undecided"

    def _figure_words(self) -> str:
        low, high = self.figure or (math.nan, math.nan)
        space = f" {self.unit}" if self.unit else ""
        if low == high:
            return f"{low:+g}{space} is in the interval"
        return f"some of {low:+g} to {high:+g}{space} is in the interval"


@dataclass(frozen=True)
class Judged:
    """A claim beside what was measured.

    Attributes:
        claim: the claim.
        metric: title of the metric that was used; empty where there is none.
        estimate: the measured figure; None where there is none.
        verdict: of the claim (its direction, where it has a size as well).
        size: verdict on the size that the paper gives; None where it gives none.
        notes: what a reader must know, and why a verdict is missing.
    """

    claim: Claim
    metric: str
    estimate: Estimate | None
    verdict: Verdict
    size: Verdict | None
    notes: tuple[str, ...] = ()


def judge_claims(paper: PaperCurves) -> list[Judged]:
    """Return every claim of `CLAIMS` with the verdict of the measured curves."""
    return [_judged(claim, paper) for claim in CLAIMS]


def _judged(claim: Claim, paper: PaperCurves) -> Judged:
    untested = None if claim.figure is None else Verdict.UNTESTED
    title = ""
    try:
        metric = paper.metric(claim.metric)
        title = metric.title
        estimate = claim.estimate(paper, metric.name)
    except BenchError as error:
        return Judged(claim, title, None, Verdict.UNTESTED, untested, (str(error),))
    same_metric = claim.metric != "lpips" or paper.is_lpips
    verdict, size, reasons = judge(estimate, claim, same_metric=same_metric)
    if not same_metric:
        sizes = ", so that sizes do not compare" if claim.figure else ""
        reasons = (f"{title} stands for LPIPS{sizes}", *reasons)
    return Judged(claim, title, estimate, verdict, size, (*reasons, *estimate.notes))


def judge(
    estimate: Estimate, claim: Claim, *, same_metric: bool = True
) -> tuple[Verdict, Verdict | None, tuple[str, ...]]:
    """Return the verdict of a measured figure on a claim, that on the claim's size, and why one is missing.

    A claim holds where the whole 95 % interval of the figure lies in the claim's region, and does not hold where
    none of it does. An interval across the region's edge decides nothing, unless it leaves out the figure that the
    document gives: then the claim does not hold either. The size holds where the claim does and the interval
    contains the paper's figure, and does not hold where the interval leaves that out.

    Args:
        estimate: what was measured.
        claim: what is claimed of it.
        same_metric: whether it was measured by the metric of the claim; if not, sizes are not comparable.
    """
    untested = None if claim.figure is None else Verdict.UNTESTED
    low, high, region = estimate.low, estimate.high, claim.region
    if math.isnan(low) or math.isnan(high):
        return Verdict.UNTESTED, untested, ()
    reasons: list[str] = []
    meets = leaves_out = False
    if claim.figure is not None and same_metric:
        meets = low <= claim.figure[1] and high >= claim.figure[0]
        leaves_out = not meets
    if region.low < low and high < region.high:
        verdict = Verdict.HOLDS
    elif high <= region.low or low >= region.high or leaves_out:
        verdict = Verdict.FAILS
    else:
        verdict = Verdict.UNTESTED
        reasons.append(
            f"undecided by {estimate.n_images} images: only part of the interval is {region.words(claim.unit)}"
        )
    if leaves_out:
        return verdict, Verdict.FAILS, tuple(reasons)
    size = Verdict.HOLDS if meets and verdict is Verdict.HOLDS else untested
    return verdict, size, tuple(reasons)


_Figure = Callable[[CurveData, CurveData, str], Estimate]


def _against(part: str, figure: _Figure) -> Callable[[PaperCurves, str], Estimate]:
    """Return the estimate of our codec against another part; "vvc" is VTM, or the other VVC encoder."""

    def estimate(paper: PaperCurves, metric: str) -> Estimate:
        test = paper.play("ours")
        anchor = paper.vvc(metric) if part == "vvc" else paper.play(part)
        result = figure(anchor, test, metric)
        notes = [f"VVC is {anchor.name}"] if part == "vvc" else []
        if anchor.steps != test.steps and not math.isnan(anchor.steps) and not math.isnan(test.steps):
            notes.append(f"{anchor.label} with {anchor.steps:g} steps, {test.label} with {test.steps:g}")
        return _noted(result, *notes)

    return estimate


def _steps(fewer: int, more: int, figure: _Figure) -> Callable[[PaperCurves, str], Estimate]:
    """Return the estimate of more steps against fewer, of our codec."""
    return lambda paper, metric: figure(paper.ours(fewer), paper.ours(more), metric)


def _lowest_rate(fewer: CurveData, more: CurveData, metric: str) -> Estimate:
    pair = pair_decodes(fewer, more, metric)
    rates = (pair.bpp == pair.bpp.min()) & (pair.bpp < LOW_RATE)
    return pair.mean(rates, [f"lowest rate: {pair.bpp.min():.3g} bpp"])


def _above_low_rate(fewer: CurveData, more: CurveData, metric: str) -> Estimate:
    pair = pair_decodes(fewer, more, metric)
    rates = pair.bpp > LOW_RATE
    return pair.mean(rates, [f"rates: {', '.join(f'{bpp:.3g}' for bpp in pair.bpp[rates])} bpp"])


def _noted(estimate: Estimate, *notes: str) -> Estimate:
    return Estimate(
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.unit,
        estimate.n_images,
        (*notes, *estimate.notes),
    )


_BELOW, _ABOVE = Region(high=0), Region(low=0)
_FEW, _DEFAULT, *_FURTHER = STEPS
_MANY = STEPS[-1]

CLAIMS = (
    Claim(
        "attentive-quality",
        "Attentive over additive fusion: better LPIPS at equal rate",
        "+20.06 %",
        "lpips",
        "relative BD-quality by {metric}, Ours against Ours-AE",
        "%",
        _ABOVE,
        _against("additive", relative_quality),
        (20.06, 20.06),
    ),
    Claim(
        "attentive-rate",
        "Attentive over additive fusion: fewer bits at equal LPIPS",
        "-15.76 %",
        "lpips",
        "BD-rate by {metric}, Ours against Ours-AE",
        "%",
        _BELOW,
        _against("additive", rate_at_equal_quality),
        (-15.76, -15.76),
    ),
    Claim(
        "fidelity-quality",
        "Fidelity enhancement: better LPIPS at equal rate",
        "+6.05 %",
        "lpips",
        "relative BD-quality by {metric}, Ours against Ours-FE",
        "%",
        _ABOVE,
        _against("unrenormalized", relative_quality),
        (6.05, 6.05),
    ),
    Claim(
        "fidelity-rate",
        "Fidelity enhancement: fewer bits at equal LPIPS",
        "-5.83 %",
        "lpips",
        "BD-rate by {metric}, Ours against Ours-FE",
        "%",
        _BELOW,
        _against("unrenormalized", rate_at_equal_quality),
        (-5.83, -5.83),
    ),
    Claim(
        "more-steps",
        f"{_FEW} to {_MANY} steps: fewer bits at equal LPIPS",
        "28.2 to 33.3 % gain",
        "lpips",
        f"BD-rate by {{metric}}, {_MANY} steps against {_FEW}",
        "%",
        _BELOW,
        _steps(_FEW, _MANY, rate_at_equal_quality),
        (-33.3, -28.2),
    ),
    *(
        Claim(
            f"beyond-default-{count}",
            f"Beyond {_DEFAULT} steps the gain is marginal: {count} steps",
            "up to about 7 %",
            "lpips",
            f"BD-rate by {{metric}}, {count} steps against {_DEFAULT}",
            "%",
            Region(low=-MARGINAL),
            _steps(_DEFAULT, count, rate_at_equal_quality),
        )
        for count in _FURTHER
    ),
    Claim(
        "low-rate-lpips",
        "At very low rate more steps give better LPIPS",
        "better",
        "lpips",
        f"mean {{metric}} of {_MANY} steps less that of {_FEW}, same bitstreams, lowest rate (under {LOW_RATE:g} bpp)",
        "",
        _BELOW,
        _steps(_FEW, _MANY, _lowest_rate),
    ),
    Claim(
        "low-rate-psnr",
        "At very low rate more steps give lower PSNR",
        "lower",
        "psnr",
        f"mean {{metric}} of {_MANY} steps less that of {_FEW}, same bitstreams, lowest rate (under {LOW_RATE:g} bpp)",
        "dB",
        _BELOW,
        _steps(_FEW, _MANY, _lowest_rate),
    ),
    Claim(
        "few-steps-psnr",
        f"Above {LOW_RATE:g} bpp {_FEW} steps' PSNR is clearly lower than at {_DEFAULT}",
        "clearly lower",
        "psnr",
        f"mean {{metric}} of {_DEFAULT} steps less that of {_FEW}, same bitstreams, rates above {LOW_RATE:g} bpp",
        "dB",
        Region(low=SMALL_DB),
        _steps(_FEW, _DEFAULT, _above_low_rate),
    ),
    *(
        Claim(
            f"stable-psnr-{count}",
            f"Above {LOW_RATE:g} bpp PSNR is stable from {_DEFAULT} steps: {count} steps",
            "little difference",
            "psnr",
            f"mean {{metric}} of {count} steps less that of {_DEFAULT}, same bitstreams, rates above {LOW_RATE:g} bpp",
            "dB",
            Region(-SMALL_DB, SMALL_DB),
            _steps(_DEFAULT, count, _above_low_rate),
        )
        for count in _FURTHER
    ),
    Claim(
        "ms-ssim-vvc",
        "MS-SSIM comparable to VVC",
        "comparable",
        "ms_ssim",
        "BD-quality by {metric}, Ours against VVC",
        "",
        Region(low=-COMPARABLE),
        _against("vvc", quality_at_equal_rate),
    ),
    Claim(
        "ms-ssim-perco",
        "MS-SSIM far above PerCo",
        "far above",
        "ms_ssim",
        "BD-quality by {metric}, Ours against PerCo",
        "",
        Region(low=FAR),
        _against("perco", quality_at_equal_rate),
    ),
    Claim(
        "psnr-vvc",
        "PSNR below VVC",
        "below",
        "psnr",
        "BD-quality by {metric}, Ours against VVC",
        "dB",
        _BELOW,
        _against("vvc", quality_at_equal_rate),
    ),
    Claim(
        "saving-vvc",
        "Whole codec against VVC: fewer bits at equal LPIPS",
        "up to 79 % saved",
        "lpips",
        "BD-rate by {metric}, Ours against VVC",
        "%",
        _BELOW,
        _against("vvc", rate_at_equal_quality),
    ),
    Claim(
        "largest-saving-vvc",
        "Whole codec against VVC: the most bits saved at an equal LPIPS",
        "up to 79 % saved",
        "lpips",
        "largest saving of Ours against VVC at any {metric} that both reach",
        "%",
        _ABOVE,
        _against("vvc", largest_saving),
        (79.0, 79.0),
    ),
)
"""Every claim of the paper that has a figure or a direction."""
