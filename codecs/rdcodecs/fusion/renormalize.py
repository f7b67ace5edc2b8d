"""Distribution renormalization: the colours of what was generated are moved to those of a reference.

The paper names the technique and its aim, consistent colour; what follows is our choice. Mean and standard
deviation of each colour channel are moved to a reference that either costs nothing (the auxiliary decoder's picture)
or six bytes (the source's own, in the stream). `local` moves the mean of every neighbourhood instead: what is coarser
than the neighbourhood is the auxiliary decoder's, what is finer the diffusion model's. `learned` is that and then
the enhancer (see `Enhancer`), `auto` whichever of the two the weights allow. The more bits a stream has, the
finer the detail that the auxiliary decoder can be trusted with, and the smaller the neighbourhood.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.hyperprior.statistics import Statistics, statistics

Renormalization = Literal["auto", "off", "auxiliary", "source", "local", "learned"]
RENORMALIZATIONS: tuple[Renormalization, ...] = ("auto", "off", "auxiliary", "source", "local", "learned")

# Chosen on held-out training crops: docs/TRAINING-LOG.md, steps 8, 13 and 21.
_WIDEST, _NARROWEST = 21, 5
_NARROW_FROM = 5 / 7
"""Share of the way from the lowest rate level to the highest from which on windows are the narrowest."""
_SMALLEST_DEVIATION = 1e-3


def match_statistics(pictures: Tensor, wanted: Statistics) -> Tensor:
    """Return pictures moved, channel by channel, to the mean and standard deviation wanted."""
    found = statistics(pictures)
    gain = wanted.deviation.to(pictures) / found.deviation.clamp(min=_SMALLEST_DEVIATION)
    return (pictures - found.mean) * gain + wanted.mean.to(pictures)


def window_at(level: int, levels: int) -> int:
    """Return the side of a neighbourhood in pixels, odd: 21 at the lowest rate level, 5 from the sixth of eight on."""
    place = min(1.0, level / max(1, levels - 1) / _NARROW_FROM)
    return 2 * int(_WIDEST * (_NARROWEST / _WIDEST) ** place / 2) + 1


def windows_at(levels: Tensor, count: int) -> list[int]:
    """Return the side of each picture's neighbourhoods; `levels` has shape (N,), `count` of them there are."""
    return [window_at(level, count) for level in levels.tolist()]


def match_neighbourhoods(pictures: Tensor, reference: Tensor, windows: Sequence[int]) -> Tensor:
    """Return pictures whose mean around each pixel is that of the reference.

    Args:
        pictures: shape (N, 3, H, W).
        reference: likewise.
        windows: side of each picture's neighbourhoods in pixels, odd.
    """
    apart = torch.split(reference - pictures, 1)
    moves = [_smoothed(difference, window) for difference, window in zip(apart, windows, strict=True)]
    return pictures + torch.cat(moves)


def _smoothed(pictures: Tensor, window: int) -> Tensor:
    # Twice a box is close to a bell, and needs no kernel. Rows and columns apart are the same mean, and far less work.
    for _ in range(2):
        for box in ((window, 1), (1, window)):
            padding = (box[0] // 2, box[1] // 2)
            pictures = functional.avg_pool2d(pictures, box, stride=1, padding=padding, count_include_pad=False)
    return pictures
