"""The fusion codec: a hyperprior's stream, decoded by a frozen diffusion model that is steered by its latent."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rdcodecs.codec import Codec, Direction, Image, OptionError, RateSpec, StreamError
from rdcodecs.fusion.config import KINDS, Kind
from rdcodecs.fusion.control import Control
from rdcodecs.fusion.enhancer import Enhancer, enhance
from rdcodecs.fusion.renormalize import (
    RENORMALIZATIONS,
    Renormalization,
    match_neighbourhoods,
    match_statistics,
    window_at,
)
from rdcodecs.fusion.sketch import Sketcher
from rdcodecs.fusion.weights import check_enhancer, has_enhancer, load_control, load_enhancer
from rdcodecs.hyperprior.codec import HyperpriorCodec, StoredLatent
from rdcodecs.hyperprior.statistics import statistics, unpack_statistics
from rdcodecs.pixels import decoded_images
from rdcodecs.prior import Prior, load
from rdcodecs.prior.features import edit_features
from rdcodecs.shipped import TINY, shipped_or_folder
from rdcodecs.steps import check_steps

FOLDER = "fusion"
"""Controls and enhancer in a folder of weights: one folder per kind of fusion in it, and one of the enhancer."""

Start = Literal["noise", "auxiliary"]
_STARTS: tuple[Start, ...] = ("noise", "auxiliary")
_STRENGTH = 0.6
_BATCH = 8
_DECODER = 4
"""To be raised where the same bytes come to decode to another picture: cells are then measured anew."""


@dataclass(frozen=True)
class _Source:
    """What a picture is drawn from: the stream's content, and the seed that follows from its bytes."""

    stored: StoredLatent
    seed: int


class FusionCodec(Codec):
    """The codec of "Generative Image Coding with Diffusion Prior" (arXiv 2509.13768).

    Encoder and entropy model are those of `HyperpriorCodec`. To decode, the adapter turns the decoded latent into
    features, and a frozen latent diffusion model, whose own features they are fused with, samples a picture by DDIM
    from noise that is seeded by the stream.

    Args:
        prior: `tiny` (shipped), or any latent diffusion model in diffusers' format: a folder or a hub id. The
            `weights` must have been trained for it.
        weights: `tiny` (shipped), or a folder that ``rdbench train fusion`` wrote.
        fusion: "attentive", or "additive" (the ablation Ours-AE).
        renormalize: "local" (the mean around each pixel is that of the auxiliary decoder's picture), "learned" (so, and
            then the weights' enhancer corrects it), "auxiliary" (mean and deviation of each colour channel are those
            of that picture), "source" (they are those of the source; six bytes in the stream), "off" (the ablation
            Ours-FE), or "auto": "learned" where the weights have an enhancer, else "local".
        window: side in pixels of the neighbourhoods of "local", odd; 0 for one that shrinks as the rate grows, which
            is what an enhancer was trained with.
        span: share of the noise levels that sampling walks through, from pure noise down, above 0 to 1: see
            `Prior.sample`; 0 for what the weights were trained for, which have not seen the levels below.
        start: "noise", or "auxiliary": from the sketch (see `Sketcher`), noised, through all noise levels below
            it whatever the span. A variant of ours, for weights that were trained for a span of 1.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda" ...

    Raises:
        OptionError: an option has a value that does not exist.
        MissingDependencyError: no such weights, or "learned" and no enhancer in them.
    """

    name = "fusion"
    rate: ClassVar[RateSpec] = HyperpriorCodec.rate
    default_rates: ClassVar[tuple[float, ...]] = HyperpriorCodec.default_rates
    decode_options: ClassVar[Mapping[str, Any]] = {"steps": 10}
    costly: ClassVar[bool] = True

    def __init__(
        self,
        *,
        prior: str = TINY,
        weights: str = TINY,
        fusion: Kind = "attentive",
        renormalize: Renormalization = "auto",
        window: int = 0,
        span: float = 0.0,
        start: Start = "noise",
        device: str = "auto",
    ) -> None:
        for option, value, values in (
            ("fusion", fusion, KINDS),
            ("renormalize", renormalize, RENORMALIZATIONS),
            ("start", start, _STARTS),
        ):
            if value not in values:
                raise OptionError(f"codec 'fusion': {option} must be one of {', '.join(values)}, not '{value}'")
        if not isinstance(window, int) or isinstance(window, bool) or (window and (window < 3 or window % 2 == 0)):
            raise OptionError(f"codec 'fusion': window must be 0 or an odd number of pixels from 3 on, not {window!r}")
        if isinstance(span, bool) or not isinstance(span, int | float) or not 0 <= span <= 1:
            raise OptionError(f"codec 'fusion': span must be a number from 0 to 1, not {span!r}")
        self._prior_name = prior
        self._parts = shipped_or_folder(weights) / FOLDER
        self._folder = self._parts / fusion
        if renormalize == "auto":
            renormalize = "learned" if self.has_enhancer else "local"
        if renormalize == "learned":
            check_enhancer(self._parts)  # now, before anything is measured
        self._renormalize: Renormalization = renormalize
        self._window = window
        self._given_span = float(span)
        self._start: Start = start
        # What costs nothing to leave out is not sent.
        self.hyperprior = HyperpriorCodec(weights=weights, device=device, statistics=renormalize == "source")

    def check(self) -> None:
        """Read all weights, which says what is missing."""
        self.hyperprior.check()
        self.control  # noqa: B018 - reading them is the check
        self._sketcher  # noqa: B018 - here, not in several threads at once
        if self._renormalize == "learned":
            self._enhancement  # noqa: B018 - likewise

    def warm_up(self, direction: Direction) -> None:
        """Read the weights of one direction: to encode takes no diffusion model."""
        if direction == "encode":
            self.hyperprior.check()
        else:
            self.check()

    @cached_property
    def prior(self) -> Prior:
        """The frozen diffusion model, read when first needed."""
        return load(self._prior_name, device=self.hyperprior.device)

    @property
    def control(self) -> Control:
        """Adapter and fusion, read when first needed."""
        return self._trained[0]

    @cached_property
    def _trained(self) -> tuple[Control, str]:
        return load_control(self._folder, self.prior, self.hyperprior.model)

    @property
    def has_enhancer(self) -> bool:
        """Whether the weights have an enhancer, used or not."""
        return has_enhancer(self._parts)

    @property
    def enhancer(self) -> Enhancer:
        """The enhancer, read when first needed."""
        return self._enhancement[0]

    @cached_property
    def _enhancement(self) -> tuple[Enhancer, str]:
        return load_enhancer(self._parts, self.prior, self.hyperprior.model)

    @cached_property
    def _sketcher(self) -> Sketcher:
        return Sketcher(self.hyperprior.model, self.prior)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what decides the codec's output."""
        enhancer = {"enhancer": self._enhancement[1]} if self._renormalize == "learned" else {}
        return {
            **self.hyperprior.fingerprint(),
            **enhancer,
            "decoder": _DECODER,
            "control": self._trained[1],
            "prior": self.prior.fingerprint(),
            "dtype": str(self.prior.dtype),
            "renormalize": self._renormalize,
            "window": self._window,
            "span": self._span,
            "start": self._start,
        }

    def encode(self, image: Image, rate: float) -> bytes:
        """Compress an image; see `Codec.encode`."""
        return self.hyperprior.encode(image, rate)

    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress; see `Codec.decode`. `steps` is the number of DDIM steps, 0 for the sketch, without diffusion."""
        self.check()  # says what is missing before anything is drawn
        steps = self._steps(options)
        image: Image = decoded_images(self._draw(self.prior, [_Source(self._read(data), _seed(data))], steps))[0]
        return image

    def decode_batch(self, streams: Sequence[bytes], **options: Any) -> list[Image]:
        """Decompress many streams, faster than one by one.

        On a CPU as many are decoded at a time as there are cores for the threads that torch is set to use: with one
        thread, one a core. Each goes through the networks alone, so that its picture is that of `decode` to the bit.
        On a GPU those of one size go through them together, where rounding may differ in the last bit.

        Args:
            streams: complete files.
            options: as for `decode`.

        Returns:
            The images, in order.

        Raises:
            StreamError: the bytes of one are not a whole, undamaged stream of this codec.
            OptionError: a decode option does not exist or is out of range.
        """
        self.check()  # here, not in several threads at once
        steps = self._steps(options)
        sources = [_Source(self._read(data), _seed(data)) for data in streams]
        if self.prior.device.type == "cpu":
            workers = max(1, min(len(sources), (os.cpu_count() or 1) // torch.get_num_threads()))
            # Features are reached by hooks, of which each thread needs its own.
            spare: SimpleQueue[Prior] = SimpleQueue()
            for number in range(workers):
                spare.put(self.prior.twin() if number else self.prior)

            def alone(source: _Source) -> Image:
                prior = spare.get()
                try:
                    image: Image = decoded_images(self._draw(prior, [source], steps))[0]
                finally:
                    spare.put(prior)
                return image

            with ThreadPoolExecutor(workers) as pool:
                return list(pool.map(alone, sources))
        images: dict[int, Image] = {}
        for indices in _batches([source.stored.size for source in sources]):
            pictures = self._draw(self.prior, [sources[index] for index in indices], steps)
            images.update(zip(indices, decoded_images(pictures), strict=True))
        return [images[index] for index in range(len(streams))]

    def _read(self, data: bytes) -> StoredLatent:
        stored = self.hyperprior.read(data)
        if self._renormalize == "source" and not stored.statistics:
            raise StreamError("the stream holds no colour statistics of its source: decode it with another renormalize")
        return stored

    def _window_at(self, level: int) -> int:
        return self._window or window_at(level, self.hyperprior.model.config.levels)

    @property
    def _span(self) -> float:
        # From a start all noise levels below it are walked through.
        return 1.0 if self._start == "auxiliary" else self._given_span or self.control.config.span

    def _steps(self, options: Mapping[str, Any]) -> int:
        most = self.prior.most_steps(self._span)
        return check_steps(self.name, options, min(most, self.decode_options["steps"]), most, least=0)

    @torch.inference_mode()
    def _draw(self, prior: Prior, sources: Sequence[_Source], steps: int) -> Tensor:
        """Return pictures of one size, shape (N, 3, H, W), about [-1, 1]."""
        stored = [source.stored for source in sources]
        size = stored[0].size
        latents = torch.stack([item.latents for item in stored])
        levels = torch.tensor([item.level for item in stored], device=latents.device)
        auxiliary = sketch = None
        sketched = steps == 0 or self._start == "auxiliary" or self.control.config.sketch
        if self._renormalize in ("auxiliary", "local", "learned") or (sketched and self._sketcher.needs_picture):
            auxiliary = self.hyperprior.draw(stored)
        if sketched:
            sketch = self._sketcher(latents, levels, size, auxiliary)
        if steps == 0:
            assert sketch is not None  # noqa: S101 - for the type checker
            drawn = sketch
        else:
            start = sketch if self._start == "auxiliary" else None
            prepared = self.control.prepare(latents.to(prior.dtype), levels, prior.latent_size(size), sketch)
            noise = prior.noise(size, [source.seed for source in sources])
            with edit_features(prior.unet, self.control.edits(prepared)):
                drawn = prior.sample(noise, steps, start=start, strength=_STRENGTH, span=self._span)
        pictures = prior.decode(drawn, size).float()
        if self._renormalize == "source":
            wanted = [unpack_statistics(item.statistics) for item in stored]
            return torch.cat([match_statistics(*pair) for pair in zip(torch.split(pictures, 1), wanted, strict=True)])
        if auxiliary is None or self._renormalize == "off":
            return pictures
        if self._renormalize == "auxiliary":
            return match_statistics(pictures, statistics(auxiliary))
        pictures = match_neighbourhoods(pictures, auxiliary, [self._window_at(item.level) for item in stored])
        if self._renormalize == "local":
            return pictures
        return enhance(self.enhancer, pictures, auxiliary, latents, levels)


def _seed(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def _batches(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield indices of equal sizes, a batch at a time."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        groups[size].append(index)
    for indices in groups.values():
        for first in range(0, len(indices), _BATCH):
            yield indices[first : first + _BATCH]
