"""Vector quantisation by cosine similarity, with the parameter names of the public checkpoints."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Quantised:
    """What became of a batch of features.

    Attributes:
        features: of the chosen entries, shape (N, C, h, w); gradients pass as if nothing had been quantised.
        indices: of the chosen entries, int64, shape (N, h, w).
        points: what was compared with the entries, of length one, shape (N, h, w, D).
        distance: mean of 1 - cosine to the chosen entry; the entries get no gradient.
    """

    features: Tensor
    indices: Tensor
    points: Tensor
    distance: Tensor


class Codebook(nn.Module):
    """Entries of length one.

    The shapes are those of the public checkpoints, whose first axis is one of several codebooks.

    Args:
        size: number of entries.
        dim: of each.
    """

    initted: Tensor
    cluster_size: Tensor
    embed_avg: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        entries = functional.normalize(torch.randn(1, size, dim), dim=-1)
        self.register_buffer("initted", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(1, size))
        self.register_buffer("embed_avg", entries.clone())
        # A parameter without gradient: it follows the encoder by a moving average, and is averaged like any weight.
        self.embed = nn.Parameter(entries, requires_grad=False)

    @property
    def entries(self) -> Tensor:
        """The entries, shape (size, dim): of length one also after averaging or rounding of the weights."""
        return functional.normalize(self.embed[0], dim=-1)


class VectorQuantizer(nn.Module):
    """Projects features to a few dimensions and replaces them by the codebook's entry of the most similar direction.

    Yu et al. 2022, "Vector-quantized image modeling with improved VQGAN" (arXiv 2110.04627), section 3.2.

    Args:
        features: channels of what is quantised.
        dim: of the codebook's entries.
        size: number of entries.
    """

    def __init__(self, features: int, dim: int, size: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(features, dim)
        self.project_out = nn.Linear(dim, features)
        self._codebook = Codebook(size, dim)

    @property
    def codebook(self) -> Codebook:
        """The entries."""
        return self._codebook

    def forward(self, features: Tensor) -> Quantised:
        """Quantise features of shape (N, C, h, w)."""
        entries = self._codebook.entries
        points = self.points(features)
        indices = (points.detach() @ entries.T).argmax(dim=-1)
        chosen = entries[indices]
        distance = 1 - (points * chosen).sum(dim=-1).mean()
        return Quantised(self._restore(points + (chosen - points).detach()), indices, points, distance)

    def points(self, features: Tensor) -> Tensor:
        """Return the directions that are compared with the entries, shape (N, h, w, D)."""
        return functional.normalize(self.project_in(features.permute(0, 2, 3, 1)), dim=-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """Return the features that indices of shape (N, h, w) stand for, shape (N, C, h, w)."""
        return self._restore(self._codebook.entries[indices])

    def _restore(self, chosen: Tensor) -> Tensor:
        restored: Tensor = self.project_out(chosen)
        return restored.permute(0, 3, 1, 2)
