"""The decode option that all diffusion codecs have: the number of denoising steps."""

from collections.abc import Mapping
from typing import Any

from rdcodecs.codec import OptionError


def check_steps(codec: str, options: Mapping[str, Any], default: int, most: int, least: int = 1) -> int:
    """Return the number of denoising steps that decode options ask for.

    Args:
        codec: its name, for messages.
        options: of `Codec.decode`.
        default: where they name none, or `None`.
        most: noise levels that the sampler can visit.
        least: the smallest number that means something.

    Raises:
        OptionError: another option than `steps`, or a number out of range.
    """
    for option in options:
        if option != "steps":
            raise OptionError(f"codec '{codec}' has no decode option '{option}': have steps")
    steps = options.get("steps")
    if steps is None:
        return default
    if isinstance(steps, bool) or not isinstance(steps, int) or not least <= steps <= most:
        raise OptionError(f"codec '{codec}': steps must be a whole number from {least} to {most}, not {steps!r}")
    return steps
