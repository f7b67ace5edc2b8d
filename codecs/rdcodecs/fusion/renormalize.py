"""Distribution renormalization: the colours of what was generated are moved to those of a reference.

The document names the technique and its aim, consistent colour; what follows is our choice. Mean and standard
deviation of each colour channel are moved to a reference that either costs nothing (the auxiliary decoder's picture)
or six bytes (the source's own, in the stream). `local` moves the mean of every neighbourhood instead.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from rdcodecs.hyperprior.statistics import Statistics, statistics

Renormalization = Literal["off", "auxiliary", "source", "local"]
RENORMALIZATIONS: tuple[Renormalization, ...] = ("off", "auxiliary", "source", "local")

_WINDOW = 33
_SMALLEST_DEVIATION = 1e-3


def match_statistics(pictures: Tensor, wanted: Statistics) -> Tensor:
    """Return pictures moved, channel by channel, to the mean and standard deviation wanted."""
    found = statistics(pictures)
    gain = wanted.deviation.to(pictures) / found.deviation.clamp(min=_SMALLEST_DEVIATION)
    return (pictures - found.mean) * gain + wanted.mean.to(pictures)


def match_neighbourhoods(pictures: Tensor, reference: Tensor) -> Tensor:
    """Return pictures whose mean around each pixel is that of the reference, both of shape (N, 3, H, W)."""
    return pictures + _smoothed(reference - pictures)


def _smoothed(pictures: Tensor) -> Tensor:
    # Twice a box is close to a bell, and needs no kernel. Rows and columns apart are the same mean, and far less work.
    for _ in range(2):
        for window in ((_WINDOW, 1), (1, _WINDOW)):
            padding = (window[0] // 2, window[1] // 2)
            pictures = functional.avg_pool2d(pictures, window, stride=1, padding=padding, count_include_pad=False)
    return pictures
