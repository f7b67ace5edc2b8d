"""What the VVC adapters share: checks of options, and the way from decoded samples to an image."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rdcodecs.codec import Image, OptionError, StreamError
from rdcodecs.vvc import yuv
from rdcodecs.vvc.bitstream import StreamInfo

DECODED_BITS = 10
"""Bits a sample in what both decoders write."""


def check_timeout(codec: str, timeout: float) -> float:
    """Return a time limit in seconds, or raise `OptionError` where it is not a positive, finite number."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise OptionError(f"{codec}: timeout must be a positive number of seconds, not {timeout!r}")
    return timeout


def refuse_decode_options(codec: str, options: Mapping[str, Any]) -> None:
    """Raise `OptionError` where a codec without decode options is given one."""
    for option in options:
        raise OptionError(f"codec '{codec}' has no decode option '{option}'")


def decoded_image(codec: str, samples: Path, info: StreamInfo, *, peak: float) -> Image:
    """Make the image from a decoder's 10-bit samples.

    Args:
        codec: its name, for the message.
        samples: the file of the decoder's raw output; where there is none, it gave out no picture.
        info: what the stream says of its picture.
        peak: the sample value of white.

    Raises:
        StreamError: the samples are not those of exactly one picture of that size.
    """
    try:
        length = samples.stat().st_size if samples.exists() else 0
        yuv.check_length(length, info.width, info.height, chroma=info.chroma, bits=DECODED_BITS)
        data = samples.read_bytes()
        image = yuv.yuv_to_image(data, info.width, info.height, chroma=info.chroma, bits=DECODED_BITS, peak=peak)
    except ValueError as error:
        raise StreamError(f"{codec}: the stream does not hold exactly one picture: {error}") from error
    return np.ascontiguousarray(image[: info.height - info.odd_height, : info.width - info.odd_width])
