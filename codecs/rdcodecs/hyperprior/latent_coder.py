"""Latents to bytes and back, under the distributions of the hyperprior."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdcodecs.entropy import Decoder, Encoder, FrequencyTables
from rdcodecs.hyperprior.config import HYPER_STRIDE, HyperpriorConfig
from rdcodecs.hyperprior.context import Masks, partition
from rdcodecs.hyperprior.fixed_point import ExactContext, ExactHyperSynthesis

_LARGEST_HYPER = 255
_LARGEST_MEAN = 255.0

Floats = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.int32]
Means = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coded:
    """A latent, coded.

    Attributes:
        payload: the bytes.
        bits: the entropy model's own estimate of their length.
        latents: what the decoder will have, float32, shape (M, h, w).
    """

    payload: bytes
    bits: float
    latents: Floats


class LatentCoder:
    """Codes hyper-latents with counted tables, then latents with the tables that the hyper-latents point to.

    With a context model latents are coded in four steps, and those of the steps before have a say in the tables too.

    Args:
        config: of the model.
        synthesis: the hyper-synthesis in fixed point.
        hyper_tables: of hyper-latents: one for each level and channel, levels outermost.
        latent_tables: of latents less their mean: one for each entry of the scale table.
        context: the context model in fixed point, if there is one.

    Raises:
        ValueError: the tables of hyper-latents are not as many as that.
    """

    def __init__(
        self,
        config: HyperpriorConfig,
        synthesis: ExactHyperSynthesis,
        hyper_tables: FrequencyTables,
        latent_tables: FrequencyTables,
        context: ExactContext | None = None,
    ) -> None:
        self._config = config
        self._synthesis = synthesis
        self._hyper_tables = hyper_tables
        self._latent_tables = latent_tables
        self._context = context
        if len(hyper_tables) != config.levels * config.hyper_channels:
            raise ValueError(
                f"there are {len(hyper_tables)} tables of hyper-latents, not one for each of {config.hyper_channels} "
                f"channels at {config.levels} levels"
            )

    def encode(self, latents: Floats, hyper: Floats, level: int) -> Coded:
        """Round and code latents.

        Args:
            latents: shape (M, h, w), with their gain.
            hyper: shape (C, ceil(h / 4), ceil(w / 4)).
            level: of the rate.
        """
        encoder = Encoder()
        whole = _whole(hyper)
        hyper_index = self._hyper_index(level, whole.shape)
        encoder.put(whole.reshape(-1), hyper_index, self._hyper_tables)
        bits = self._hyper_tables.bits(whole.reshape(-1), hyper_index)

        def put(mask: Masks, mean: Means, index: Symbols) -> Symbols:
            nonlocal bits
            symbols = self._symbols(latents[mask], mean, level)
            encoder.put(symbols, index, self._latent_tables)
            bits += self._latent_tables.bits(symbols, index)
            return symbols

        made = self._in_steps(whole, level, latents.shape, put)
        return Coded(encoder.finish(), bits, made)

    def rounded(self, latents: Floats, hyper: Floats, level: int) -> Floats:
        """Return what the decoder will have of latents, without coding them; arguments as for `encode`."""

        def symbols_of(mask: Masks, mean: Means, _: Symbols) -> Symbols:
            return self._symbols(latents[mask], mean, level)

        return self._in_steps(_whole(hyper), level, latents.shape, symbols_of)

    def decode(self, payload: bytes, level: int, size: tuple[int, int]) -> Floats:
        """Return the latents of `encode`, float32, shape (M, h, w).

        Args:
            payload: the bytes.
            level: of the rate.
            size: (h, w) of the latent.

        Raises:
            StreamError: the bytes are no such latents.
        """
        shape = (self._config.hyper_channels, *(-(-side // HYPER_STRIDE) for side in size))
        decoder = Decoder(payload)
        decoder.require(self._least_bits(level, size, shape[1:]))
        hyper = decoder.get(self._hyper_index(level, shape), self._hyper_tables).reshape(shape)
        whole = (self._config.latent_channels, *size)
        made = self._in_steps(hyper, level, whole, lambda _, __, index: decoder.get(index, self._latent_tables))
        decoder.finish()
        return made

    def _least_bits(self, level: int, size: tuple[int, int], hyper_size: tuple[int, ...]) -> float:
        """Return what a latent of this size costs at the least, in bits."""
        own = slice(level * self._config.hyper_channels, (level + 1) * self._config.hyper_channels)
        hyper = math.prod(hyper_size) * float(self._hyper_tables.least_bits[own].sum())
        return hyper + math.prod(size) * self._config.latent_channels * float(self._latent_tables.least_bits.min())

    def _symbols(self, latents: Floats, mean: Means, level: int) -> Symbols:
        residuals = latents - mean
        excess = self._config.rounding_excess[level]
        symbols: Symbols = np.rint(residuals + np.sign(residuals) * excess).astype(np.int32)
        return symbols

    def _hyper_index(self, level: int, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
        channels = np.arange(shape[0], dtype=np.int32) + level * shape[0]
        return np.repeat(channels, shape[1] * shape[2])

    def _in_steps(
        self,
        hyper: Symbols,
        level: int,
        shape: tuple[int, ...],
        symbols_of: Callable[[Masks, Means, Symbols], Symbols],
    ) -> Floats:
        """Return latents, float32, whose symbols are asked for step by step.

        Args:
            hyper: decoded, shape (C, ...).
            level: of the rate.
            shape: of the latents, (M, h, w).
            symbols_of: from which latents, shape (M, h, w), their means, shape (n,), and the indices of their
                tables, to their symbols.
        """
        raw = self._synthesis(hyper, level)[:, : shape[1], : shape[2]]
        known = np.zeros(shape)
        for step, mask in enumerate(partition(shape, context=self._context is not None)):
            parameters = raw if step == 0 or self._context is None else self._context(step, known, raw, level)
            mean, place = (part[mask] for part in np.split(parameters, 2))
            mean = mean.clip(-_LARGEST_MEAN, _LARGEST_MEAN)
            index = np.rint(place).clip(0, len(self._latent_tables) - 1).astype(np.int32)
            known[mask] = symbols_of(mask, mean, index) + mean
        return known.astype(np.float32)


def _whole(hyper: Floats) -> npt.NDArray[np.int32]:
    return np.rint(hyper).clip(-_LARGEST_HYPER, _LARGEST_HYPER).astype(np.int32)


def tables_from(tensors: Mapping[str, npt.NDArray[np.int32]], prefix: str) -> FrequencyTables:
    """Return the tables stored under names that start with `prefix` and a full stop."""
    start = f"{prefix}."
    return FrequencyTables.from_arrays({k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
