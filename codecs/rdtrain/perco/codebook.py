"""How a codebook follows its encoder, and how its entries are kept in use."""

import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.perco.quantizer import Codebook, VectorQuantizer

_ROUNDS = 10
_JITTER = 0.05


@torch.no_grad()
def begin(quantizer: VectorQuantizer, features: Tensor, generator: torch.Generator) -> None:
    """Fit an untrained quantiser to a first batch: its projection, then its entries.

    The features of an untrained encoder hardly differ, so that all of them would have nearly one direction, and
    little to choose an entry by. So the projection is made to subtract what they have in common.

    Args:
        quantizer: with arbitrary weights.
        features: shape (N, C, h, w).
        generator: on the features' device.
    """
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)
    projection = quantizer.project_in
    made = projection(rows)
    mean = made.mean(dim=0)
    scale = (made - mean).square().sum(dim=1).mean().clamp(min=1e-12).rsqrt()
    projection.weight.mul_(scale)
    projection.bias.sub_(mean).mul_(scale)
    begin_codebook(quantizer.codebook, quantizer.points(features).flatten(0, 2), generator)


@torch.no_grad()
def begin_codebook(codebook: Codebook, points: Tensor, generator: torch.Generator) -> None:
    """Place the entries by spherical k-means.

    Args:
        codebook: with arbitrary entries.
        points: of length one, shape (n, D).
        generator: on the points' device.
    """
    size = codebook.cluster_size.shape[1]
    entries = _draw(points, size, generator)
    for _ in range(_ROUNDS):
        counts, sums = _assigned(points, (points @ entries.T).argmax(dim=1), size)
        entries = torch.where(counts[:, None] > 0, functional.normalize(sums, dim=-1), entries)
    codebook.embed[0] = entries
    codebook.embed_avg[0] = entries
    codebook.cluster_size.fill_(1)
    codebook.initted.fill_(1)


@torch.no_grad()
def follow(codebook: Codebook, points: Tensor, indices: Tensor, decay: float) -> None:
    """Move the entries towards what chose them: moving averages (van den Oord et al. 2017, appendix A.1).

    Args:
        codebook: to move.
        points: of length one, shape (n, D).
        indices: of the chosen entries, shape (n,).
        decay: of the averages.
    """
    counts, sums = _assigned(points, indices, codebook.cluster_size.shape[1])
    codebook.cluster_size[0].lerp_(counts, 1 - decay)
    codebook.embed_avg[0].lerp_(sums, 1 - decay)
    # The direction of the sum is that of the mean.
    codebook.embed[0] = functional.normalize(codebook.embed_avg[0], dim=-1)


@torch.no_grad()
def revive(codebook: Codebook, points: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Put entries that are hardly chosen where the data are; return how many there were.

    Args:
        codebook: to change.
        points: of length one, shape (n, D).
        share: of the mean use, below which an entry is placed anew.
        generator: on the points' device.
    """
    use = codebook.cluster_size[0]
    dead = use < share * use.mean()
    # Drawn for all entries, so that what is drawn does not depend on which are dead, nor the device wait to know.
    fresh = _draw(points, len(use), generator)
    weight = use.mean()
    codebook.embed[0] = torch.where(dead[:, None], fresh, codebook.embed[0])
    codebook.embed_avg[0] = torch.where(dead[:, None], fresh * weight, codebook.embed_avg[0])
    codebook.cluster_size[0] = torch.where(dead, weight, use)
    return dead.sum()


def perplexity(use: Tensor) -> Tensor:
    """Return two to the power of the entropy of entries' use, shape (..., K): how many are in use, so to say."""
    share = use / use.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    return torch.exp(torch.special.entr(share).sum(dim=-1))


def _assigned(points: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return how many points chose each entry, shape (K,), and their sums, shape (K, D)."""
    chosen = functional.one_hot(indices, size).to(points)
    # A product, not a scattered addition: its order, and so its last bit, is the same every time.
    return chosen.sum(dim=0), chosen.T @ points


def _draw(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    places = torch.randint(len(points), (count,), generator=generator, device=points.device)
    noise = torch.randn((count, points.shape[1]), generator=generator, device=points.device)
    return functional.normalize(points[places] + _JITTER * noise, dim=-1)
