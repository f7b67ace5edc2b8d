"""The codec `perco`: a vector-quantised latent and a caption, decoded by a fine-tuned diffusion model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rdcodecs.codec import Codec, Image, OptionError, RateError, RateSpec, StreamError, as_image
from rdcodecs.perco.captions import BLIP2, Blip2
from rdcodecs.perco.index_coder import MODEL_NAMES, Indices
from rdcodecs.perco.index_models import ModelName
from rdcodecs.perco.text import LONGEST, pack_text, reference_length, unpack_text
from rdcodecs.perco.unet import local_features
from rdcodecs.perco.weights import RatePoint, TrainedPerCo, load_perco
from rdcodecs.pixels import decoded_images
from rdcodecs.shipped import TINY, shipped_or_folder
from rdcodecs.steps import check_steps
from rdcodecs.stream import Stream, read_stream, write_stream

KIND = "perco"

CaptionSource = Literal["none", "sidecar", "blip2"]
CAPTION_SOURCES: tuple[CaptionSource, ...] = ("none", "sidecar", "blip2")

_TEXT = 4
"""Flag of a stream with a caption; the two flags below it are the number of the indices' model."""
_MODEL = 3
_LOW_RATE = 0.05
_LOW_RATE_STEPS, _HIGH_RATE_STEPS = 20, 5


@dataclass(frozen=True)
class Sizes:
    """Where a stream's bytes go, and where the reference's would.

    Attributes:
        header: size, rate point and checksum, in bytes.
        text: the caption, in bytes.
        indices: in bytes, with the model that the stream names.
        model: that model.
        reference_text: bytes of the caption in zlib's format at level 9.
        uniform_indices: bits of equally likely indices.
    """

    header: int
    text: int
    indices: int
    model: ModelName
    reference_text: int
    uniform_indices: float


@dataclass(frozen=True)
class StoredImage:
    """What a stream holds.

    Attributes:
        level: of the rate point.
        size: (height, width) of the image in pixels.
        caption: the text; empty where there is none.
        indices: int32, shape (h, w).
        model: that the indices were coded with.
        index_bytes: what they take.
        text_bytes: what the caption takes.
    """

    level: int
    size: tuple[int, int]
    caption: str
    indices: Indices
    model: ModelName
    index_bytes: int
    text_bytes: int


_DECODER = 1
"""To be raised where the same bytes come to decode to another picture: cells are then measured anew."""


class PerCoCodec(Codec):
    """PerCo (Careil et al. 2024, arXiv 2310.10325), as re-implemented on Stable Diffusion 2.1.

    A hyper-encoder turns the autoencoder's latent into a grid of codebook indices. They and a caption are the stream.
    To decode, the features that the indices stand for are concatenated to the noisy latent, the caption steers by
    cross-attention, and DDIM samples from noise that is seeded by the stream.

    Not as in the reference: images of any size, no uniform model of the indices (unless it is the shortest), an
    adaptive or learned one; a text coding of our own; sampling from the noisiest level down at any step count.

    Args:
        model: `tiny` (shipped), or a folder: a public PerCo checkpoint, which has one rate point, or what
            ``rdbench train perco`` wrote. The rate's levels are those of the folder, from low to high rate.
        prior: folder or hub id of the diffusion model that a `model` without autoencoder was trained from, where
            the folder above does not hold it.
        caption: "none", "sidecar" (the text that `encode` is given), or "blip2" (made from the image).
        captioner: hub id or folder of the BLIP-2 model.
        guidance: scale of classifier-free guidance over the text; only streams with a caption are guided.
        device: "auto" (a CUDA device where there is one), "cpu", "cuda" ...

    Raises:
        OptionError: an option has a value that does not exist.
        MissingDependencyError: no such folder.
    """

    name = "perco"
    rate: ClassVar[RateSpec] = RateSpec("level", 0, 15)
    default_rates: ClassVar[tuple[float, ...]] = (0, 1, 2, 3, 4)
    decode_options: ClassVar[Mapping[str, Any]] = {"steps": None}
    costly: ClassVar[bool] = True

    def __init__(
        self,
        *,
        model: str = TINY,
        prior: str = "",
        caption: CaptionSource = "none",
        captioner: str = BLIP2,
        guidance: float = 3.0,
        device: str = "auto",
    ) -> None:
        if caption not in CAPTION_SOURCES:
            raise OptionError(f"codec 'perco': caption must be one of {', '.join(CAPTION_SOURCES)}, not '{caption}'")
        if isinstance(guidance, bool) or not isinstance(guidance, int | float) or not 0 <= guidance <= 100:
            raise OptionError(f"codec 'perco': guidance must be a number from 0 to 100, not {guidance!r}")
        self._folder = shipped_or_folder(model)
        self._prior = prior
        self._caption: CaptionSource = caption
        self._captioner = captioner
        self._guidance = float(guidance)
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)

    @property
    def wants_caption(self) -> bool:
        """Whether `encode` should be given the text beside the image, where there is one."""
        return self._caption == "sidecar"

    def check(self) -> None:
        """Read all weights, which says what is missing."""
        if self._caption != "none":
            # A text that cannot be made use of would be bits for nothing.
            self.model.prior.embed([""])
        if self._caption == "blip2":
            self._blip2  # noqa: B018 - reading it is the check
        self.model  # noqa: B018 - likewise

    @cached_property
    def model(self) -> TrainedPerCo:
        """The trained model, read when first needed."""
        return load_perco(self._folder, prior=self._prior, device=self.device)

    @cached_property
    def _blip2(self) -> Blip2:
        return Blip2(self._captioner, self.device)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return what decides the codec's output."""
        return {
            "decoder": _DECODER,
            "weights": self.model.digest.hex(),
            "prior": self.model.prior.fingerprint(),
            "dtype": str(self.model.prior.dtype),
            "caption": self._caption if self._caption != "blip2" else f"blip2 {self._captioner}",
            "guidance": self._guidance,
        }

    def encode(self, image: Image, rate: float, caption: str | None = None) -> bytes:
        """Compress an image; see `Codec.encode`.

        Args:
            image: uint8, shape (H, W, 3), sRGB.
            rate: the rate point, from 0, the lowest of the model's.
            caption: the text beside the image, for ``caption="sidecar"``; cut where it is too long.
        """
        pixels = as_image(image)
        level = int(self.rate.validate(rate))
        if level >= len(self.model.points):
            raise RateError(f"this model has the levels 0 to {len(self.model.points) - 1}, not {level}")
        point = self.model.points[level]
        with torch.inference_mode():
            indices = point.encoder(self.model.prior.encode(pixels).float()).indices[0]
        name, coded = point.coder.encode(indices.int().cpu().numpy())
        text = _cut(self._text(pixels, caption))
        flags = MODEL_NAMES.index(name) | (_TEXT if text else 0)
        height, width = pixels.shape[:2]
        payload = (pack_text(text) if text else b"") + coded
        return write_stream(Stream(KIND, level, width, height, payload, flags), self.model.digest)

    def decode(self, data: bytes, **options: Any) -> Image:
        """Decompress; see `Codec.decode`.

        Args:
            data: the complete file.
            options: `steps`, the number of DDIM steps; `None`, the default, is the reference's: 20 where the rate
                point's nominal rate is at most 0.05 bits per pixel, 5 above.
        """
        stored = self.read(data)
        steps = self._steps(options, self.model.points[stored.level])
        seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1
        with torch.inference_mode():
            image: Image = decoded_images(self._draw(stored, seed, steps))[0]
        return image

    def read(self, data: bytes) -> StoredImage:
        """Return what a stream holds.

        Raises:
            StreamError: the bytes are not such a stream.
        """
        stream = read_stream(data, KIND, self.model.digest, levels=len(self.model.points), flags=_TEXT | _MODEL)
        if stream.flags & _MODEL >= len(MODEL_NAMES):
            raise StreamError(f"the perco stream is damaged: its flags read {stream.flags}")
        text, rest = unpack_text(stream.payload) if stream.flags & _TEXT else ("", stream.payload)
        point = self.model.points[stream.level]
        model = MODEL_NAMES[stream.flags & _MODEL]
        size = (stream.height, stream.width)
        grid = point.encoder.grid_size(self.model.prior.latent_size(size))
        indices = point.coder.decode(rest, model, grid)
        return StoredImage(stream.level, size, text, indices, model, len(rest), len(stream.payload) - len(rest))

    def sizes(self, data: bytes) -> Sizes:
        """Return where a stream's bytes go, beside what the reference's coding would take.

        Raises:
            StreamError: the bytes are not such a stream.
        """
        stored = self.read(data)
        coder = self.model.points[stored.level].coder
        return Sizes(
            header=len(data) - stored.text_bytes - stored.index_bytes,
            text=stored.text_bytes,
            indices=stored.index_bytes,
            model=stored.model,
            reference_text=reference_length(stored.caption) if stored.caption else 0,
            uniform_indices=coder.uniform_bits((stored.indices.shape[0], stored.indices.shape[1])),
        )

    def _text(self, pixels: Image, caption: str | None) -> str:
        if self._caption == "blip2":
            return self._blip2(pixels)
        return (caption or "").strip() if self._caption == "sidecar" else ""

    def _steps(self, options: Mapping[str, Any], point: RatePoint) -> int:
        low = point.encoder.config.bits_per_pixel(self.model.prior.stride) <= _LOW_RATE
        default = _LOW_RATE_STEPS if low else _HIGH_RATE_STEPS
        return check_steps(self.name, options, default, self.model.prior.train_steps)

    def _draw(self, stored: StoredImage, seed: int, steps: int) -> Tensor:
        """Return the picture, shape (1, 3, H, W), about [-1, 1]."""
        prior, encoder = self.model.prior, self.model.points[stored.level].encoder
        indices = torch.from_numpy(stored.indices).long()[None].to(self.device)
        features = encoder.spread(encoder.quantizer.lookup(indices), prior.latent_size(stored.size))
        embedding = prior.embed([stored.caption]) if stored.caption else None
        with local_features(prior.unet, features):
            drawn = prior.sample(prior.noise(stored.size, [seed]), steps, embedding=embedding, guidance=self._guidance)
        return prior.decode(drawn, stored.size).float()


def _cut(text: str) -> str:
    """Return as much of a text as can be sent; the text encoder reads no more than the first 77 tokens anyway."""
    # Halves of surrogate pairs, which are in no UTF-8, become question marks.
    return text.encode(errors="replace")[:LONGEST].decode(errors="ignore")
