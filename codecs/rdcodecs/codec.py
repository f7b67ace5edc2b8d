"""The interface every codec adapter implements, and the errors it may raise."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""An image: uint8, shape (H, W, 3), sRGB."""

Direction = Literal["encode", "decode"]

MIN_SIDE = 16
"""Smallest width and height, in pixels, that every codec must accept."""

MAX_PIXELS_VARIABLE = "RDBENCH_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 1 << 26
"""Largest width times height that is coded or decoded, unless the environment variable above says otherwise."""


class CodecError(Exception):
    """A codec could not do what was asked. The message is one line, for the user."""


class MissingDependencyError(CodecError):
    """A binary, package or weight file is not on this machine. The message says how to get it."""


class OptionError(CodecError, ValueError):
    """A codec option does not exist or has a value out of range."""


class RateError(CodecError, ValueError):
    """A rate outside the codec's `RateSpec`."""


class EncodeError(CodecError):
    """The encoder failed, or ran past its time limit."""


class ContractError(CodecError):
    """A codec did not keep to its interface: it returned something else, or changed what it was given."""


class StreamError(CodecError, ValueError):
    """The bytes are damaged, truncated, of another codec, or of a version this one does not read."""


@dataclass(frozen=True)
class RateSpec:
    """The codec's own rate parameter.

    Attributes:
        name: what the codec calls it ("QP", "quality", "level").
        low: smallest value accepted.
        high: largest value accepted.
        integer: whether only whole numbers are accepted.
        higher_is_larger: whether a higher value spends more bits (quality: yes; QP: no).
    """

    name: str
    low: float
    high: float
    integer: bool = True
    higher_is_larger: bool = True

    def validate(self, rate: float) -> float:
        """Return `rate`, or raise `RateError` where it is out of range or should be whole."""
        if not np.isfinite(rate) or not self.low <= rate <= self.high:
            raise RateError(f"{self.name} {rate:g} is out of range: use {self.low:g} to {self.high:g}")
        if self.integer and rate != int(rate):
            raise RateError(f"{self.name} {rate:g} is not a whole number")
        return rate


class Codec(ABC):
    """An image codec: an image becomes bytes, and those bytes alone become an image again.

    A subclass names itself and its rate parameter, takes its options as keyword-only arguments of `__init__`
    (each with a default), and implements `fingerprint`, `encode` and `decode`. See docs/adding-a-codec.md.

    `decode` gets the bytes and the decode options and nothing else: size, rate and seed come from the bytes.
    The same bytes and options give the same image every time.
    """

    name: ClassVar[str]
    rate: ClassVar[RateSpec]
    decode_options: ClassVar[Mapping[str, Any]] = {}
    """Options of `decode` and their defaults, e.g. ``{"steps": 10}``."""
    default_rates: ClassVar[tuple[float, ...]] = ()
    """Rate points for experiments that name none, spanning the codec's useful range."""
    costly: ClassVar[bool] = False
    """Whether two processes with this codec are too many: one then encodes and decodes, with an instance for each."""
    irrelevant_options: ClassVar[frozenset[str]] = frozenset()
    """Options of `__init__` that cannot change a result (time limits, where a log goes): no part of a cell's key."""

    @property
    def wants_caption(self) -> bool:
        """Whether `encode` takes a `caption`, the text that a dataset has beside an image, as a third argument."""
        return False

    def check(self) -> None:  # noqa: B027 - most codecs need nothing beyond their own package
        """Raise `MissingDependencyError` if this machine lacks something the codec needs."""

    def warm_up(self, direction: Direction) -> None:
        """Load what `encode` or `decode` needs, so that no image's time has it in it: by default, `check`.

        Args:
            direction: what this instance will be asked for.
        """
        self.check()

    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """Return everything that decides the codec's output: versions, weight hashes, options (JSON-able).

        A change here means that the codec is measured anew. Leave out what cannot change a result (time limits,
        paths). May raise `MissingDependencyError`.
        """

    @abstractmethod
    def encode(self, image: Image, rate: float) -> bytes:
        """Compress an image.

        Args:
            image: uint8, shape (H, W, 3), sRGB, both sides at least 16 pixels, odd sizes included.
            rate: a value that `self.rate` accepts.

        Returns:
            The complete file: what `decode` needs, with every byte counted.

        Raises:
            RateError: the rate is out of range.
            EncodeError: the encoder failed.
            MissingDependencyError: something it needs is not installed.
        """

    @abstractmethod
    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress bytes made by `encode`.

        Args:
            data: the complete file.
            options: values for `decode_options`; those left out take their defaults.

        Returns:
            uint8, shape (H, W, 3), of exactly the size that was encoded.

        Raises:
            StreamError: the bytes are not a whole, undamaged stream of this codec.
            OptionError: a decode option does not exist or is out of range.
        """


def as_image(image: npt.NDArray[Any]) -> Image:
    """Return `image` as a contiguous (H, W, 3) uint8 array.

    Raises:
        EncodeError: it is not such an image, or it is too small, or larger than `max_pixels`.
        OptionError: see `max_pixels`.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise EncodeError(f"an image must be uint8 of shape (H, W, 3), not {image.dtype} of shape {image.shape}")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise EncodeError(f"the image is {width}x{height}: both sides must be at least {MIN_SIDE} pixels")
    check_pixels(width, height, EncodeError, "the image")
    return np.ascontiguousarray(image)


def max_pixels() -> int:
    """Return the largest width times height of a picture, in pixels, that is coded or decoded.

    It is what the environment variable RDBENCH_MAX_PIXELS says, or else 2^26: a stream of a few bytes may say that its
    picture is of any size, and whoever believes it gives it that memory.

    Raises:
        OptionError: the variable is not a whole number of pixels, at least 256 (16x16).
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE, "").strip()
    if not text:
        return DEFAULT_MAX_PIXELS
    value = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0
    if value < MIN_SIDE**2:
        raise OptionError(
            f"{MAX_PIXELS_VARIABLE} is {text[:40]!r}: give a whole number of pixels from {MIN_SIDE**2} on, or unset it"
        )
    return value


def check_pixels(width: int, height: int, error: type[CodecError], what: str) -> None:
    """Raise `error` where a picture is larger than `max_pixels`.

    Args:
        width: in pixels.
        height: in pixels.
        error: what to raise: `EncodeError` for an image, `StreamError` for what a stream says.
        what: begins the message, e.g. "the image".
    """
    limit = max_pixels()
    if width * height > limit:
        raise error(
            f"{what} is {width}x{height}, over the limit of {limit} pixels: {MAX_PIXELS_VARIABLE}={width * height} "
            "in the environment would allow it"
        )
