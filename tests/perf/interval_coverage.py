"""How often 95 % intervals of Bjøntegaard figures cover the truth: the table in docs/statistics.md.

Run from the repository's root: `python tests/perf/interval_coverage.py` (an hour; `--method jackknife-t --draws 200`
is rough and quick).

Two populations are made of the committed rows of results/kodak and results/aigc, for several pairs of codecs and
metrics. *resampled*: the measured images themselves, drawn with replacement. *normal*: images whose log rates and
qualities at all rate points of both codecs are jointly normal with the measured means and covariances. The truth is
the figure of the population's mean curves. Each draw of n images gives an interval; the table counts how often it
holds the truth, and on which side it misses.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from rdbench.bd import Kind, batch_deltas
from rdbench.curves import curve_data, metric_info
from rdbench.records import load_records
from rdbench.stats import student_t

Floats = npt.NDArray[np.float64]
ROOT = Path(__file__).parents[2]
SIZES = (3, 6, 8, 19, 24)
CASES = {
    "kodak": (("vtm", "vvenc"), ("vtm", "avif"), ("vtm", "hyperprior"), ("jpeg2000", "webp"), ("vvenc", "heic")),
    "aigc": (("vtm", "vvenc"), ("vtm", "Ours, 10 steps"), ("vtm", "avif"), ("vvenc", "Ours, 5 steps")),
}
METRICS = ("psnr", "ms_ssim", "st_lpips_alex")
RESAMPLES = 400
INNER = 150
"""Resamples of the studentised bootstrap, each of which is left without every image in turn."""


@dataclass(frozen=True)
class Population:
    """Images of which samples are drawn: log10 bpp and signed quality of both codecs, (N, columns) in one table.

    Attributes:
        table: one row per image.
        parts: where the columns of the four tables end.
        normal: whether images are drawn from the normal distribution with the table's means and covariances.
    """

    table: Floats
    parts: tuple[int, ...]
    normal: bool

    def draw(self, random: np.random.Generator, draws: int, images: int) -> Floats:
        """Return samples, shape (draws, images, columns)."""
        if not self.normal:
            return self.table[random.integers(len(self.table), size=(draws, images))]
        centred = (self.table - self.table.mean(axis=0)) / np.sqrt(len(self.table) - 1)
        return self.table.mean(axis=0) + random.normal(size=(draws, images, len(self.table))) @ centred

    def figures(self, means: Floats, kind: Kind) -> Floats:
        """Return the figure of each row of mean columns; rates come as bpp."""
        a, b, c, d = np.split(means, self.parts, axis=1)
        values = batch_deltas(kind, (a, b), (c, d), "pchip")
        return np.log1p(values / 100) if kind == "rate" else values

    def measured(self, samples: Floats) -> Floats:
        """Return samples with bpp in place of its logarithm, which is what is averaged."""
        columns = np.zeros(samples.shape[-1], bool)
        columns[: self.parts[0]] = columns[self.parts[1] : self.parts[2]] = True
        return np.where(columns, 10.0 ** np.where(columns, samples, 0.0), samples)

    def truth(self, kind: Kind) -> float:
        """Return the figure of the population's mean curves, for a normal one from 400,000 images."""
        if not self.normal:
            means = self.measured(self.table).mean(axis=0)
        else:
            random = np.random.default_rng(99)
            means = np.mean([self.measured(self.draw(random, 40, 1000)).mean(axis=(0, 1)) for _ in range(10)], axis=0)
        return float(self.figures(means[None], kind)[0])


@functools.cache
def _records(name: str) -> object:
    return load_records(ROOT / "results" / name)


def populations() -> Iterator[tuple[str, Population]]:
    """Yield every population with its name."""
    for name, pairs in CASES.items():
        records = _records(name)
        for anchor, test in pairs:
            for metric in METRICS:
                sign = 1 if metric_info(metric).higher_is_better else -1
                parts: list[Floats] = []
                for label in (anchor, test):
                    curve = curve_data(records, label).curve(metric).finite()  # type: ignore[arg-type]
                    parts += [np.log10(curve.image_bpp), sign * curve.image_quality]  # type: ignore[arg-type, operator]
                ends = tuple(np.cumsum([part.shape[1] for part in parts])[:-1].tolist())
                for normal in (False, True):
                    kind = "normal" if normal else "resampled"
                    yield f"{name}: {test} / {anchor}, {metric}, {kind}", Population(np.hstack(parts), ends, normal)


Ends = tuple[Floats, Floats]


def _without(population: Population, samples: Floats, kind: Kind) -> Floats:
    """Return the figure without each image in turn, shape (draws, images)."""
    draws, images, columns = samples.shape
    means = (samples.sum(axis=1, keepdims=True) - samples) / (images - 1)
    return population.figures(means.reshape(-1, columns), kind).reshape(draws, images)


def _error(without: Floats) -> Floats:
    images = without.shape[-1]
    spread = np.square(without - without.mean(axis=-1, keepdims=True)).sum(axis=-1)
    error: Floats = np.sqrt((images - 1) / images * spread)
    return error


def jackknife_t(population: Population, samples: Floats, kind: Kind, random: np.random.Generator) -> Ends:
    """The suite's interval: `rdbench.stats.jackknife_interval` for many samples at once."""
    images = samples.shape[1]
    low, high = plain_jackknife(population, samples, kind, random)
    middle, half = (low + high) / 2, (high - low) / 2 * np.sqrt(images / (images - 1))
    return middle - half, middle + half


def plain_jackknife(population: Population, samples: Floats, kind: Kind, random: np.random.Generator) -> Ends:
    """Student's t with the jackknife's standard error as it is in the textbook."""
    value = population.figures(samples.mean(axis=1), kind)
    half = student_t(samples.shape[1] - 1) * _error(_without(population, samples, kind))
    return value - half, value + half


def _resampled(samples: Floats, random: np.random.Generator, count: int) -> Floats:
    draws, images, _ = samples.shape
    weights = random.multinomial(images, np.full(images, 1 / images), size=(draws, count)) / images
    means: Floats = weights @ samples
    return means


def percentile(population: Population, samples: Floats, kind: Kind, random: np.random.Generator) -> Ends:
    """The percentile bootstrap."""
    draws, _, columns = samples.shape
    means = _resampled(samples, random, RESAMPLES)
    values = population.figures(means.reshape(-1, columns), kind).reshape(draws, RESAMPLES)
    low, high = np.nanpercentile(values, [2.5, 97.5], axis=1)
    return low, high


def bca(population: Population, samples: Floats, kind: Kind, random: np.random.Generator) -> Ends:
    """The bias-corrected and accelerated bootstrap (Efron, 1987)."""
    draws, _, columns = samples.shape
    value = population.figures(samples.mean(axis=1), kind)
    means = _resampled(samples, random, RESAMPLES)
    values = population.figures(means.reshape(-1, columns), kind).reshape(draws, RESAMPLES)
    share = np.clip((values < value[:, None]).mean(axis=1), 1 / RESAMPLES, 1 - 1 / RESAMPLES)
    bias = ndtri(share)
    away = np.nanmean(without := _without(population, samples, kind), axis=1, keepdims=True) - without
    with np.errstate(invalid="ignore"):  # without an image there may be no figure: then there is no interval
        acceleration = (away**3).sum(axis=1) / (6 * np.square(away).sum(axis=1) ** 1.5)
    ends = []
    for z in (ndtri(0.025), ndtri(0.975)):
        level = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        some = [np.nanquantile(v, q) if np.isfinite(q) else np.nan for v, q in zip(values, level, strict=True)]
        ends.append(np.array(some))
    return ends[0], ends[1]


def studentised(population: Population, samples: Floats, kind: Kind, random: np.random.Generator) -> Ends:
    """The bootstrap of the t statistic, with the jackknife's standard error."""
    draws, images, _ = samples.shape
    value = population.figures(samples.mean(axis=1), kind)
    error = _error(_without(population, samples, kind))
    low, high = np.full(draws, np.nan), np.full(draws, np.nan)
    for i, sample in enumerate(samples):
        again = sample[random.integers(images, size=(INNER, images))]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = _error(_without(population, again, kind))
            t = (population.figures(again.mean(axis=1), kind) - value[i]) / spread
        t = t[np.isfinite(t)]
        if len(t) > 0.9 * INNER:
            low[i], high[i] = value[i] - np.quantile(t, [0.975, 0.025]) * error[i]
    return low, high


METHODS: dict[str, tuple[Callable[..., Ends], float]] = {
    "jackknife-t": (jackknife_t, 1.0),
    "jackknife-t, plain": (plain_jackknife, 0.5),
    "percentile bootstrap": (percentile, 0.1),
    "BCa bootstrap": (bca, 0.1),
    "studentised bootstrap": (studentised, 0.03),
}
"""Each method, and the share of the draws it gets: the bootstraps cost a hundred times more."""


def main() -> None:
    """Print the coverage table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000, help="samples of each population and size")
    parser.add_argument("--method", action="append", choices=METHODS, help="only this one; may be repeated")
    parser.add_argument("--kind", action="append", choices=get_args(Kind), help="only this figure")
    parser.add_argument("--each", action="store_true", help="also print every population's coverage")
    options = parser.parse_args()
    methods = {name: METHODS[name] for name in options.method or METHODS}
    kinds = options.kind or get_args(Kind)
    total = options.draws
    known_truths = {
        kind: [(name, population, population.truth(kind)) for name, population in populations()] for kind in kinds
    }
    print("| figure | method | images | coverage | lowest of all populations | truth below, above | none |")
    print("|:--|:--|--:|--:|--:|--:|--:|")
    for kind in kinds:
        figure = f"BD-{kind}"
        for method, (interval, share) in methods.items():
            for images in SIZES:
                rows = []
                for seed, (name, population, truth) in enumerate(known_truths[kind]):
                    if np.isnan(truth):
                        continue
                    random = np.random.default_rng([seed, images])
                    samples = population.measured(population.draw(random, int(total * share), images))
                    low, high = interval(population, samples, kind, random)
                    known = np.isfinite(low) & np.isfinite(high)
                    below, above = (truth < low[known]).mean(), (truth > high[known]).mean()
                    rows.append((1 - below - above, below, above, 1 - known.mean()))
                    if options.each:
                        print(f"  {figure}, {method}, {images}: {name}: {rows[-1][0]:.3f} ({truth:+.3f})")
                coverage, below, above, none = np.array(rows).T
                lowest = f"{coverage.min():.3f}" if total * share >= 500 else "-"  # of few draws it says nothing
                shown = f"{coverage.mean():.3f} | {lowest} | {below.mean():.3f}, {above.mean():.3f} | {none.mean():.3f}"
                print(
                    f"| {figure} | {method} | {images} | {shown} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
