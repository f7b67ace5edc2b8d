"""Codebook indices to bytes and back."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from rdcodecs.codec import StreamError
from rdcodecs.entropy import Decoder, Encoder
from rdcodecs.perco.index_models import (
    AdaptiveModel,
    IndexModel,
    ModelName,
    UniformModel,
    neighbours_of,
    padded,
    passes,
)

Indices = npt.NDArray[np.int32]
MODEL_NAMES: tuple[ModelName, ...] = ("uniform", "adaptive", "learned")
"""Models in the order of their numbers in a stream."""


class IndexCoder:
    """Codes the indices of one rate point with whichever model makes them shortest.

    Args:
        size: of the codebook.
        learned: makes the learned model, where there is one.
    """

    def __init__(self, size: int, learned: Callable[[], IndexModel] | None = None) -> None:
        self.size = size
        self._models: dict[ModelName, Callable[[], IndexModel]] = {
            "uniform": lambda: UniformModel(size),
            "adaptive": lambda: AdaptiveModel(size),
        }
        if learned is not None:
            self._models["learned"] = learned

    def encode(self, indices: Indices) -> tuple[ModelName, bytes]:
        """Return the name of the best model and the bytes it makes of indices of shape (h, w)."""
        coded = self.encode_with_all(indices)
        # Of equals the simplest.
        best = min(coded, key=lambda name: (len(coded[name]), MODEL_NAMES.index(name)))
        return best, coded[best]

    def encode_with_all(self, indices: Indices) -> Mapping[ModelName, bytes]:
        """Return the bytes that every model makes of indices of shape (h, w)."""
        return {name: _encode(indices, make()) for name, make in self._models.items()}

    def decode(self, data: bytes, model: ModelName, size: tuple[int, int]) -> Indices:
        """Return the indices of `encode`, shape `size`.

        Raises:
            StreamError: the bytes are no such indices.
        """
        if model not in self._models:
            raise StreamError(f"the stream is damaged: its indices are coded by a '{model}' model, which there is not")
        return _decode(data, self._models[model](), size)

    def uniform_bits(self, size: tuple[int, int]) -> float:
        """Return what a grid of this size costs at log2 of the codebook's size for each index, in bits."""
        return size[0] * size[1] * math.log2(self.size)


def _encode(indices: Indices, model: IndexModel) -> bytes:
    grid = padded((indices.shape[0], indices.shape[1]), model.size)
    encoder = Encoder()
    for number, row, columns in passes((indices.shape[0], indices.shape[1])):
        neighbours = neighbours_of(grid, number, row, columns)
        chosen = indices[row, columns]
        encoder.put(chosen, np.arange(columns.size), model.book(neighbours, number))
        model.learn(chosen, neighbours, number)
        grid[row + 1, columns + 1] = chosen
    return encoder.finish()


def _decode(data: bytes, model: IndexModel, size: tuple[int, int]) -> Indices:
    decoder = Decoder(data)
    decoder.require(size[0] * size[1] * model.least_bits)
    grid = padded(size, model.size)
    for number, row, columns in passes(size):
        neighbours = neighbours_of(grid, number, row, columns)
        chosen = decoder.get(np.arange(columns.size), model.book(neighbours, number))
        if chosen.min() < 0 or chosen.max() >= model.size:
            raise StreamError("the stream is damaged: it has an index that the codebook has not")
        model.learn(chosen, neighbours, number)
        grid[row + 1, columns + 1] = chosen
    decoder.finish()
    return grid[1:, 1:-1].copy()
