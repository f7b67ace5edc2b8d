"""What is learnt of the indices, once the encoders stand: counted, fitted, and written down in integers."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from rdcodecs.perco.hyper_encoder import HyperEncoder
from rdcodecs.perco.index_models import LOG_UNIT, NEIGHBOURS, PASSES, neighbours_of, passes
from rdcodecs.perco.weights import IndexTables

_LARGEST_COUNTED = 512
_LIMIT = 32767
_SWEEPS = 3
_FITTED = 1 << 20


@torch.no_grad()
def collect_indices(encoder: HyperEncoder, latents: Tensor, device: torch.device) -> npt.NDArray[np.int32]:
    """Return the indices of latents of shape (N, h, w, C): int32, shape (N, h', w')."""
    parts = [
        encoder(part.permute(0, 3, 1, 2).to(device)).indices.int().cpu().numpy() for part in torch.split(latents, 32)
    ]
    return np.concatenate(parts)


def learn_tables(indices: npt.NDArray[np.int32], size: int) -> IndexTables:
    """Return the tables of a `LearnedModel`.

    Each neighbour's table is the logarithm of how much likelier it makes an index, times an exponent, since neighbours
    say much of the same. Counted on four fifths of the images; the exponents are those that code the others shortest.

    Args:
        indices: of many images, shape (N, h, w).
        size: of the codebook. Beyond 512 entries the tables of neighbours would be larger than the model; they are
            zero then.

    Returns:
        Bias, int16, shape (2, size), and contexts, int16, shape (2, 3, size + 1, size).
    """
    symbols, neighbours = _gather(indices, size)
    bias = np.zeros((PASSES, size))
    contexts = np.zeros((PASSES, NEIGHBOURS, size + 1, size))
    overall = np.bincount(indices.reshape(-1), minlength=size) + 0.5
    for number in range(PASSES):
        if not symbols[number].size:
            continue
        split = max(1, symbols[number].size * 4 // 5)
        seen, before = symbols[number][:split], neighbours[number][:, :split]
        share = np.bincount(seen, minlength=size) + overall / overall.sum() * size / 2
        share /= share.sum()
        bias[number] = np.log2(share)
        if size > _LARGEST_COUNTED:
            continue
        for slot in range(NEIGHBOURS):
            pairs = np.bincount(before[slot] * size + seen, minlength=(size + 1) * size).reshape(size + 1, size)
            # Drawn towards the share without a neighbour, as strongly as so many sightings of it would.
            strength = size / 4
            smooth = (pairs + strength * share) / (pairs.sum(axis=1, keepdims=True) + strength)
            contexts[number, slot] = np.log2(smooth) - bias[number]
        held = slice(split, None) if symbols[number].size > split else slice(None)
        fitted = _exponents(bias[number], contexts[number], symbols[number][held], neighbours[number][:, held])
        contexts[number] *= fitted[:, None, None]
    return _whole(bias), _whole(contexts)


def _gather(
    indices: npt.NDArray[np.int32], size: int
) -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]]:
    """Return the symbols of each pass, shape (n,), image after image, and their neighbours, shape (3, n)."""
    count, height, width = indices.shape
    grid = np.full((count, height + 1, width + 2), size, dtype=np.int64)
    grid[:, 1:, 1:-1] = indices
    symbols: list[list[npt.NDArray[np.int64]]] = [[], []]
    neighbours: list[list[npt.NDArray[np.int64]]] = [[], []]
    for number, row, columns in passes((height, width)):
        symbols[number].append(grid[:, row + 1, columns + 1])
        neighbours[number].append(neighbours_of(grid, number, row, columns).transpose(1, 0, 2).astype(np.int64))
    none = np.zeros((count, 0), dtype=np.int64)
    return (
        [np.concatenate(parts or [none], axis=1).reshape(-1) for parts in symbols],
        [
            np.concatenate(parts, axis=2).reshape(NEIGHBOURS, -1) if parts else np.zeros((NEIGHBOURS, 0), np.int64)
            for parts in neighbours
        ],
    )


def _exponents(
    bias: npt.NDArray[np.float64],
    contexts: npt.NDArray[np.float64],
    symbols: npt.NDArray[np.int64],
    neighbours: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the exponent of each neighbour's table, 0 to 1: one after the other, a few times round."""
    exponents = np.full(NEIGHBOURS, 0.5)
    # Chosen evenly over the images, so that a large table does not take minutes.
    chosen = np.linspace(0, symbols.size - 1, min(symbols.size, max(256, _FITTED // bias.size))).astype(np.int64)
    parts = [contexts[slot, neighbours[slot, chosen]] for slot in range(NEIGHBOURS)]
    place = np.arange(chosen.size), symbols[chosen]

    def bits(values: npt.NDArray[np.float64]) -> float:
        logs = bias + sum(value * part for value, part in zip(values, parts, strict=True))
        return float(np.mean(np.log2(np.exp2(logs).sum(axis=1)) - logs[place]))

    for _ in range(_SWEEPS):
        for slot in range(NEIGHBOURS):

            def cost(value: float, slot: int = slot) -> float:
                changed = exponents.copy()
                changed[slot] = value
                return bits(changed)

            exponents[slot] = minimize_scalar(cost, bounds=(0, 1), method="bounded", options={"xatol": 0.02}).x
    return exponents


def _whole(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    return np.rint(logs * LOG_UNIT).clip(-_LIMIT, _LIMIT).astype(np.int16)
