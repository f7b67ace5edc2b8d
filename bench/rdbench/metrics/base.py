"""What a metric is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from rdbench.errors import BenchError
from rdcodecs import Image


class MetricUnavailableError(BenchError):
    """A package or weight file the metric needs is missing. The message says how to get it."""


class UndefinedScoreError(BenchError):
    """The metric has no value for this very picture (a flat one, say). The cell has none then, and no error."""


def too_little_content(metric: str) -> UndefinedScoreError:
    """Return the error of a metric, given by name, that has nothing to measure in a picture."""
    return UndefinedScoreError(f"{metric} is not defined for a picture with so little content")


class Metric(ABC):
    """A full-reference image metric.

    `prepare` does what depends on the reference alone (its features), once per image; `score` compares one
    reconstruction with it. Both take and give what DESIGN calls an image: uint8 (H, W, 3) sRGB.
    """

    scores: ClassVar[str] = "image"
    """What a value is of: an image. (That of a `SetMetric` is of the whole set.)"""
    name: ClassVar[str]
    """Column name, e.g. ``lpips_alex``: the backbone or variant is always part of it."""
    title: ClassVar[str]
    """Name for axes and tables, e.g. ``LPIPS (AlexNet)``."""
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool]
    range: ClassVar[tuple[float, float]]
    """Lowest and highest value possible; infinities where unbounded."""
    min_side: ClassVar[int] = 16
    """Smallest width and height, in pixels, for which the metric is defined."""
    source: ClassVar[str]
    """The paper (and equation) or standard that defines it."""

    def check(self) -> None:  # noqa: B027 - most metrics need nothing beyond their package
        """Raise `MetricUnavailableError` if a package or weight file is missing."""

    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """Return what decides the value: package versions, weight hashes (JSON-able)."""

    def prepare(self, reference: Image) -> Any:
        """Return what `score` needs of the reference: by default the reference itself."""
        return reference

    @abstractmethod
    def score(self, prepared: Any, image: Image) -> float:
        """Return the metric of `image` against the prepared reference of the same size.

        Raises:
            UndefinedScoreError: the metric is not defined for this picture.
        """

    def __call__(self, reference: Image, image: Image) -> float:
        """Compare one image with its reference.

        Raises:
            ValueError: the two sizes differ, or are below `min_side`.
        """
        if reference.shape != image.shape:
            raise ValueError(f"{self.name}: the images differ in size, {reference.shape} and {image.shape}")
        if min(reference.shape[:2]) < self.min_side:
            raise ValueError(f"{self.name} is not defined below {self.min_side}x{self.min_side} pixels")
        return self.score(self.prepare(reference), image)


class DerivedMetric(ABC):
    """A metric that is a function of another one's value, image by image (MS-SSIM in dB, say)."""

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool]
    range: ClassVar[tuple[float, float]]
    source: ClassVar[str]
    base: ClassVar[str]
    """Name of the metric it derives from."""

    @abstractmethod
    def derive(self, value: float) -> float:
        """Return this metric's value from the base metric's."""
