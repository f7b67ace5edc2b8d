"""KID on the features of VGG16: a distance between the distributions of originals and reconstructions."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from rdbench.metrics.backbones import VGG16
from rdbench.metrics.set_metric import SetMetric

if TYPE_CHECKING:
    from torch import nn

_BATCH = 4


class KIDVGG(SetMetric):
    """Kernel distance (squared MMD, kernel (x·y/D + 1)³) between patches, on VGG16's relu5_3 averaged over a patch.

    The estimator is the unbiased one for paired samples (Gretton et al., JMLR 2012, eq. 4), taken over pairs of
    patches from two different images, since patches of one image are no independent draws. It is 0 for equal
    sets, and can be a little below 0. It is neither FID nor the KID of papers, which use Inception's features.
    """

    name: ClassVar[str] = "kid_vgg"
    title: ClassVar[str] = "KID (VGG16, 256x256 patches)"
    range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    source: ClassVar[str] = "Binkowski et al.: Demystifying MMD GANs (ICLR 2018), eq. 4, on VGG16"

    def __init__(self) -> None:
        self._stages: nn.ModuleList | None = None

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the backbone is missing."""
        VGG16.check()

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the backbone's hash, the layer, the kernel and the patches."""
        return {
            "backbone": VGG16.identity,
            "layer": "relu5_3, mean over the patch",
            "kernel": "(x·y/512 + 1)^3",
            "patches": "256x256, and shifted by 128",
        }

    def features(self, patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return relu5_3 averaged over each patch: (P, 256, 256, 3) becomes (P, 512)."""
        import torch
        from torch import nn

        if self._stages is None:
            from rdbench.metrics.vgg import vgg_stages

            self._stages = vgg_stages(VGG16.state(), lambda _: nn.MaxPool2d(2))
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        spread = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        found = []
        with torch.inference_mode():
            for start in range(0, len(patches), _BATCH):
                x = torch.from_numpy(patches[start : start + _BATCH].astype(np.float32)).permute(0, 3, 1, 2)
                x = (x / 255 - mean) / spread
                for stage in self._stages:
                    x = stage(x)
                found.append(x.mean(dim=(2, 3)).numpy())
        return np.concatenate(found).astype(np.float64)

    def distance(
        self,
        references: Sequence[npt.NDArray[np.float64]],
        images: Sequence[npt.NDArray[np.float64]],
        weights: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """Return the squared MMD for each weighting of the images."""
        sizes = np.array([len(each) for each in images])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        x, y = np.concatenate(references), np.concatenate(images)
        crossed = _kernel(x, y)
        # One number for every pair of images: the sum over the pairs of their patches.
        between = _kernel(x, x) + _kernel(y, y) - crossed - crossed.T
        between = np.add.reduceat(np.add.reduceat(between, starts, axis=0), starts, axis=1)
        counts = np.outer(sizes, sizes).astype(np.float64)
        np.fill_diagonal(between, 0)
        np.fill_diagonal(counts, 0)
        total = np.einsum("bi,ij,bj->b", weights, counts, weights)
        sums = np.einsum("bi,ij,bj->b", weights, between, weights)
        distance: npt.NDArray[np.float64] = np.full(len(weights), np.nan)
        np.divide(sums, total, out=distance, where=total > 0)
        return distance


def _kernel(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kernel: npt.NDArray[np.float64] = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel
