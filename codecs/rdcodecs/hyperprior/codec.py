"""The hyperprior as a codec of its own: the learned baseline without diffusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from rdcodecs.codec import Codec, Image, OptionError, RateError, RateSpec, StreamError, as_image
from rdcodecs.hyperprior.config import STRIDE
from rdcodecs.hyperprior.latent_coder import Coded
from rdcodecs.hyperprior.statistics import STATISTICS_BYTES, pack_statistics
from rdcodecs.hyperprior.weights import TrainedHyperprior, load_hyperprior
from rdcodecs.pixels import decoded_images, to_tensor
from rdcodecs.shipped import TINY_MSE, shipped_or_folder
from rdcodecs.stream import Stream, read_stream, write_stream

KIND = "hyperprior"
FOLDER = "hyperprior"
"""The hyperprior's weights, in a folder of weights."""

_STATISTICS = 1
"""Flag of a stream that begins with the statistics of the source's colours."""


@dataclass(frozen=True)
class StoredLatent:
    """What a stream holds.

    Attributes:
        level: of the rate.
        size: (height, width) of the image in pixels.
        latents: decoded, gain undone, shape (M, h, w), on the device.
        statistics: of the source's colours, packed; empty where the stream has none.
        payload: the coded latent.
    """

    level: int
    size: tuple[int, int]
    latents: Tensor
    statistics: bytes
    payload: bytes


class HyperpriorCodec(Codec):
    """Stage 1 of the fusion codec, with its auxiliary decoder: by default a learned codec trained for squared error.

    With the weights of `fusion` it reads that codec's streams. Those that it writes are then read by `fusion` too,
    unless that wants the source's statistics, which they lack.

    Args:
        weights: `tiny-mse` (shipped: squared error and nothing else), `tiny` (shipped: what `fusion` uses, of which
            the bits are judged for the diffusion model too), or a folder that ``rdbench train fusion`` wrote.
        statistics: send mean and standard deviation of the source's colours, six bytes, for `fusion` to use.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda" ...

    Raises:
        MissingDependencyError: no such weights.
    """

    name = "hyperprior"
    rate: ClassVar[RateSpec] = RateSpec("level", 0, 7)
    default_rates: ClassVar[tuple[float, ...]] = tuple(range(8))

    def __init__(self, *, weights: str = TINY_MSE, statistics: bool = False, device: str = "auto") -> None:
        self._folder = shipped_or_folder(weights)
        self._statistics = statistics
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)

    def check(self) -> None:
        """Read the weights, which says what is missing."""
        self.model  # noqa: B018 - reading them is the check

    @cached_property
    def model(self) -> TrainedHyperprior:
        """The trained model, read when first needed."""
        return load_hyperprior(self._folder / FOLDER, self.device)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what decides the codec's output."""
        return {"weights": self.model.digest.hex(), "statistics": self._statistics}

    def encode(self, image: Image, rate: float) -> bytes:
        """Compress an image; see `Codec.encode`."""
        return self.code(image, rate)[0]

    def code(self, image: Image, rate: float) -> tuple[bytes, Coded]:
        """Compress an image and return the file, and what the entropy model made of the latents."""
        pixels = as_image(image)
        level = int(self.rate.validate(rate))
        if level >= self.model.config.levels:
            raise RateError(f"these weights have the levels 0 to {self.model.config.levels - 1}, not {level}")
        with torch.inference_mode():
            source = to_tensor(pixels).to(self.device)
            levels = torch.tensor([level], device=self.device)
            latents, hyper = self.model.network.encode(source, levels)
        coded = self.model.coder.encode(latents[0].cpu().numpy(), hyper[0].cpu().numpy(), level)
        extra = pack_statistics(source) if self._statistics else b""
        height, width = pixels.shape[:2]
        stream = Stream(KIND, level, width, height, extra + coded.payload, _STATISTICS if extra else 0)
        return write_stream(stream, self.model.digest), coded

    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress; see `Codec.decode`."""
        if options:
            raise OptionError(f"codec '{self.name}' has no decode option '{next(iter(options))}'")
        stored = self.read(data)
        with torch.inference_mode():
            image: Image = decoded_images(self.draw([stored]))[0]
        return image

    def read(self, data: bytes) -> StoredLatent:
        """Return what a stream holds.

        Raises:
            StreamError: the bytes are not such a stream.
        """
        stream = read_stream(data, KIND, self.model.digest, levels=self.model.config.levels, flags=_STATISTICS)
        length = STATISTICS_BYTES if stream.flags & _STATISTICS else 0
        if len(stream.payload) < length:
            raise StreamError("the hyperprior stream is damaged: its colour statistics end early")
        shape = -(-stream.height // STRIDE), -(-stream.width // STRIDE)
        decoded = torch.from_numpy(self.model.coder.decode(stream.payload[length:], stream.level, shape))
        levels = torch.tensor([stream.level], device=self.device)
        latents = self.model.network.restore(decoded[None].to(self.device), levels)[0]
        size = stream.height, stream.width
        return StoredLatent(stream.level, size, latents, stream.payload[:length], stream.payload[length:])

    def draw(self, stored: Sequence[StoredLatent]) -> Tensor:
        """Return the auxiliary decoder's pictures of latents of one size, shape (N, 3, H, W), about [-1, 1]."""
        latents = torch.stack([item.latents for item in stored])
        levels = torch.tensor([item.level for item in stored], device=self.device)
        height, width = stored[0].size
        made: Tensor = self.model.network.synthesis(latents, levels)
        return made[..., :height, :width]
