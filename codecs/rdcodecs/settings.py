"""Checks of the numbers that describe a network, which may come from a file that somebody else made."""

from typing import Any

MOST_CHANNELS = 4096
MOST_BLOCKS = 64


def whole_number(name: str, value: Any, least: int, most: int) -> None:
    """Raise `ValueError` where a setting is not a whole number of a range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} is {str(value)[:40]}: it must be a whole number from {least} to {most}")
