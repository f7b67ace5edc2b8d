"""What a set-level metric is: one value for all reconstructions of a rate point, not one for each image.

Images are cut into patches by the protocol of HiFiC (Mentzer et al., NeurIPS 2020, A.7): a grid of 256x256 from the
upper left corner, and a second grid shifted by half a patch in both directions. 768x512 gives 6 + 2 patches.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.metrics.base import UndefinedScoreError
from rdbench.stats import MIN_IMAGES
from rdcodecs import Image

PATCH = 256
"""Side of a patch in pixels; also the smallest width and height of an image that takes part."""


@dataclass(frozen=True)
class SetScore:
    """A set-level metric of one rate point.

    Attributes:
        value: the metric.
        low: lower end of the 95 % interval over images; NaN with fewer than six images.
        high: upper end.
        images: how many images took part.
        patches: how many patches that were.
    """

    value: float
    low: float
    high: float
    images: int
    patches: int


class SetMetric(ABC):
    """A distance between the patches of the originals and those of their reconstructions.

    An image's patches become features once; the metric itself works on features, so that a bootstrap over images
    costs no further network passes.
    """

    scores: ClassVar[str] = "set"
    """What a value is of. (That of a `Metric` is of an image.)"""
    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]]
    min_side: ClassVar[int] = PATCH
    source: ClassVar[str]

    @abstractmethod
    def check(self) -> None:
        """Raise `MetricUnavailableError` if a package or weight file is missing."""

    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """Return what decides the value (JSON-able)."""

    @abstractmethod
    def features(self, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the features of patches.

        Args:
            patches: uint8 (P, 256, 256, 3), sRGB.

        Returns:
            Shape (P, D).
        """

    @abstractmethod
    def distance(
        self,
        references: Sequence[npt.NDArray[np.float64]],
        images: Sequence[npt.NDArray[np.float64]],
        weights: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Return the metric for several weightings of the images.

        Args:
            references: features of each original, (P_i, D).
            images: features of each reconstruction, in the same order.
            weights: shape (B, N): how often each of the N images counts.

        Returns:
            Shape (B,); NaN where a weighting leaves fewer than two images.
        """


def score_set(
    metric: SetMetric, pairs: Iterable[tuple[Image, Image]], *, resamples: int = 2000, seed: int = 0
) -> SetScore:
    """Compute a set-level metric over the reconstructions of one rate point.

    Args:
        metric: the metric.
        pairs: each original with its reconstruction; read one by one, only their features are kept. Images with
            a side below 256 pixels take no part.
        resamples: of the bootstrap over images.
        seed: of the bootstrap.

    Returns:
        The value with its 95 % percentile interval over images.

    Raises:
        ValueError: an original and its reconstruction differ in size.
        UndefinedScoreError: fewer than two images are large enough.
    """
    references, images = [], []
    for reference, image in pairs:
        if reference.shape != image.shape:
            raise ValueError(f"{metric.name}: the images differ in size, {reference.shape} and {image.shape}")
        if min(reference.shape[:2]) >= PATCH:
            references.append(metric.features(np.stack(list(patches(reference)))))
            images.append(metric.features(np.stack(list(patches(image)))))
    count = len(images)
    if count < 2:
        raise UndefinedScoreError(f"{metric.name} needs two images of {PATCH}x{PATCH} pixels: there are {count}")
    value = float(metric.distance(references, images, np.ones((1, count)))[0])
    low = high = math.nan
    if count >= MIN_IMAGES:
        drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, resamples).astype(float)
        low, high = (float(end) for end in np.nanquantile(metric.distance(references, images, drawn), [0.025, 0.975]))
    return SetScore(value, low, high, count, sum(len(each) for each in images))


def patches(image: Image) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the patches of an image, (256, 256, 3): those of the first grid, then those of the shifted one."""
    rows, columns = (side // PATCH for side in image.shape[:2])
    for shifted in (0, 1):
        for row in range(rows - shifted):
            for column in range(columns - shifted):
                top, left = (PATCH * place + PATCH // 2 * shifted for place in (row, column))
                yield image[top : top + PATCH, left : left + PATCH]
