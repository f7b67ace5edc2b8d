"""The code of what lies outside a table: a side, and a distance in Exp-Golomb classes.

Distance d >= 0 is of class k where 2^k <= d + 1 < 2^(k+1), and the rest d + 1 - 2^k takes k plain bits. Class k
itself takes k + 1 bits, as in the Exp-Golomb code of order 0 of Rec. ITU-T H.266, clause 9.2.
"""

import numpy as np
import numpy.typing as npt

from rdcodecs.codec import EncodeError

LIMIT = 1 << 20
"""Symbols are less than this in magnitude, whatever their table."""

_CLASSES = 21  # a distance is the difference of two such symbols, so less than 2^21 - 1
CLASS_WEIGHTS = 1 << np.append(np.arange(23, 3, -1), 4)
"""Integer weights of the classes, shape (21,), of 2^24: halves, quarters and so on; the last two share the end."""

_Ints = npt.NDArray[np.integer]


def check(symbols: _Ints) -> None:
    """Raise `EncodeError` where a symbol is not below `LIMIT` in magnitude."""
    if symbols.size and (symbols.max() >= LIMIT or symbols.min() <= -LIMIT):
        largest = max(int(symbols.max()), -int(symbols.min()))
        raise EncodeError(f"a symbol of magnitude {largest} cannot be coded: it must be below {LIMIT}")


def split(distances: _Ints) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the class and the rest of each distance: int32, the shape of `distances`."""
    # frexp's exponent is exact for integers below 2^53, which log2 is not.
    classes = np.frexp(distances + 1.0)[1].astype(np.int32) - 1
    return classes, (distances + 1 - (1 << classes)).astype(np.int32)


def join(classes: _Ints, rests: _Ints) -> npt.NDArray[np.int32]:
    """Return the distances that `split` makes of those classes and rests."""
    return ((1 << classes) - 1 + rests).astype(np.int32)


def bits(distances: _Ints) -> int:
    """Return the length of the code of all these distances together with their sides, in bits."""
    classes, _ = split(distances)
    return int(np.sum(1 + np.minimum(classes + 1, _CLASSES - 1) + classes))
