"""Run a network on an image in overlapping tiles, and blend the tiles so that no seam is seen."""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor


def tiled(run: Callable[[Tensor], Tensor], batch: Tensor, *, tile: int, overlap: int, scale: Fraction) -> Tensor:
    """Return `run(batch)`, computed tile by tile.

    Where tiles overlap, a smooth ramp leads from one to the next. The outer quarter of each overlap is not used
    at all: there a network sees the padding of its own tile.

    Args:
        run: a network, (N, C, h, w) → (N, C', h·scale, w·scale).
        batch: shape (N, C, H, W).
        tile: largest side of a tile, in samples of `batch`.
        overlap: smallest overlap of neighbouring tiles, in samples of `batch`.
        scale: output samples to an input sample (8 for a decoder, 1/8 for an encoder). Tiles start at whole
            output samples.

    Returns:
        float32 where there was more than one tile, else whatever `run` gives.

    Raises:
        ValueError: the overlap is not smaller than the tile.
    """
    if not 0 < overlap < tile:
        raise ValueError(f"the overlap of tiles must be from 1 to {tile - 1}, not {overlap}")
    height, width = batch.shape[-2:]
    grid = scale.denominator
    rows = _spans(height, tile, overlap, grid)
    columns = _spans(width, tile, overlap, grid)
    if len(rows) == len(columns) == 1:
        return run(batch)
    row_weights = _weights(rows, scale)
    column_weights = _weights(columns, scale)
    total: Tensor | None = None
    for (top, bottom), row_weight in zip(rows, row_weights, strict=True):
        for (left, right), column_weight in zip(columns, column_weights, strict=True):
            part = run(batch[..., top:bottom, left:right]).float()
            if total is None:
                size = (int(height * scale), int(width * scale))
                total = part.new_zeros((*part.shape[:2], *size))
            y, x = int(top * scale), int(left * scale)
            weight = (row_weight[:, None] * column_weight[None, :]).to(part.device)
            total[..., y : y + part.shape[-2], x : x + part.shape[-1]] += part * weight
    assert total is not None  # noqa: S101 - there is at least one tile
    return total


def _spans(length: int, tile: int, overlap: int, grid: int) -> list[tuple[int, int]]:
    """Spread as few tiles as do evenly over an axis; all start and end at multiples of `grid`."""
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    last = length - tile
    starts = [(round(index * last / (count - 1)) // grid) * grid for index in range(count)]
    return [(start, min(start + tile, length)) for start in starts[:-1]] + [(starts[-1], length)]


def _weights(spans: list[tuple[int, int]], scale: Fraction) -> list[Tensor]:
    """Return each tile's weights along one axis; at every place they add up to one."""
    total = torch.zeros(int(spans[-1][1] * scale))
    weights = []
    for index, (start, end) in enumerate(spans):
        weight = torch.ones(int((end - start) * scale))
        if index > 0:
            shared = int((spans[index - 1][1] - start) * scale)
            weight[:shared] *= _ramp(shared)
        if index < len(spans) - 1:
            shared = int((end - spans[index + 1][0]) * scale)
            weight[-shared:] *= _ramp(shared).flip(0)
        total[int(start * scale) : int(end * scale)] += weight
        weights.append(weight)
    # Short images make three tiles share a place, where pairs of ramps do not add up to one by themselves.
    return [
        weight / total[int(start * scale) : int(end * scale)]
        for (start, end), weight in zip(spans, weights, strict=True)
    ]


def _ramp(length: int) -> Tensor:
    """Rise smoothly from 0 to 1 over the middle half of `length` samples; its mirror image completes it to 1."""
    place = (torch.arange(length) + 0.5) / length
    x = ((place - 0.25) * 2).clamp(0, 1)
    return x * x * (3 - 2 * x)
