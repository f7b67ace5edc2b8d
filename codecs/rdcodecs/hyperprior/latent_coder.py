"""Latents to bytes and back, under the distributions of the hyperprior."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rdcodecs.entropy import Decoder, Encoder, FrequencyTables
from rdcodecs.hyperprior.config import HYPER_STRIDE, HyperpriorConfig
from rdcodecs.hyperprior.fixed_point import ExactHyperSynthesis

_LARGEST_HYPER = 255
_LARGEST_MEAN = 255.0

Floats = npt.NDArray[np.float32]


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

    Args:
        config: of the model.
        synthesis: the hyper-synthesis in fixed point.
        hyper_tables: of hyper-latents: one for each level and channel, levels outermost.
        latent_tables: of latents less their mean: one for each entry of the scale table.
    """

    def __init__(
        self,
        config: HyperpriorConfig,
        synthesis: ExactHyperSynthesis,
        hyper_tables: FrequencyTables,
        latent_tables: FrequencyTables,
    ) -> None:
        self._config = config
        self._synthesis = synthesis
        self._hyper_tables = hyper_tables
        self._latent_tables = latent_tables

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
        mean, index = self._distribution(whole, level, latents.shape[1:])
        symbols = np.rint(latents - mean).astype(np.int32)
        encoder.put(symbols.reshape(-1), index, self._latent_tables)
        bits = self._hyper_tables.bits(whole.reshape(-1), hyper_index)
        bits += self._latent_tables.bits(symbols.reshape(-1), index)
        return Coded(encoder.finish(), bits, (symbols + mean).astype(np.float32))

    def rounded(self, latents: Floats, hyper: Floats, level: int) -> Floats:
        """Return what the decoder will have of latents, without coding them; arguments as for `encode`."""
        mean = self._distribution(_whole(hyper), level, latents.shape[1:])[0]
        return (np.rint(latents - mean) + mean).astype(np.float32)

    def decode(self, payload: bytes, level: int, size: tuple[int, int]) -> Floats:
        """Return the latents of `encode`, float32, shape (M, h, w).

        Args:
            payload: the bytes.
            level: of the rate.
            size: (h, w) of the latent.

        Raises:
            StreamError: the bytes are no such latents.
        """
        decoder = Decoder(payload)
        shape = (self._config.hyper_channels, *(-(-side // HYPER_STRIDE) for side in size))
        hyper = decoder.get(self._hyper_index(level, shape), self._hyper_tables).reshape(shape)
        mean, index = self._distribution(hyper, level, size)
        symbols = decoder.get(index, self._latent_tables).reshape(mean.shape)
        decoder.finish()
        return (symbols + mean).astype(np.float32)

    def _hyper_index(self, level: int, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
        channels = np.arange(shape[0], dtype=np.int32) + level * shape[0]
        return np.repeat(channels, shape[1] * shape[2])

    def _distribution(
        self, hyper: npt.NDArray[np.int32], level: int, size: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        """Return means, shape (M, h, w), and the index of each latent's table, shape (M·h·w,)."""
        raw = self._synthesis(hyper, level)[:, : size[0], : size[1]]
        mean, place = np.split(raw, 2)
        index = np.rint(place).clip(0, len(self._latent_tables) - 1).astype(np.int32)
        return mean.clip(-_LARGEST_MEAN, _LARGEST_MEAN), index.reshape(-1)


def _whole(hyper: Floats) -> npt.NDArray[np.int32]:
    return np.rint(hyper).clip(-_LARGEST_HYPER, _LARGEST_HYPER).astype(np.int32)


def tables_from(tensors: Mapping[str, npt.NDArray[np.int32]], prefix: str) -> FrequencyTables:
    """Return the tables stored under names that start with `prefix` and a full stop."""
    start = f"{prefix}."
    return FrequencyTables.from_arrays({k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
