"""Codecs for tests: one that works and is cheap, and ones that fail in every way a codec can."""

import os
import struct
import time
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rdcodecs import Codec, Image, RateSpec, StreamError


class Quantizer(Codec):
    """A real, if crude, codec: quantised samples, deflated. `steps` averages neighbouring levels on decoding."""

    name = "quantizer"
    rate = RateSpec("step", 1, 128, higher_is_larger=False)
    decode_options: Mapping[str, Any] = {"steps": 1}
    default_rates = (64, 32, 16, 8)
    irrelevant_options = frozenset({"log"})

    def __init__(self, *, level: int = 6, log: str = "") -> None:
        self._level = level
        self._log = log

    def fingerprint(self) -> Mapping[str, Any]:
        return {"codec": self.name, "level": self._level}

    def encode(self, image: Image, rate: float) -> bytes:
        self._note("encode")
        step = int(self.rate.validate(rate))
        height, width = image.shape[:2]
        return struct.pack("<HHB", height, width, step) + zlib.compress((image // step).tobytes(), self._level)

    def decode(self, data: bytes, **options: Any) -> Image:
        self._note("decode")
        try:
            height, width, step = struct.unpack_from("<HHB", data)
            samples = np.frombuffer(zlib.decompress(data[5:]), np.uint8).reshape(height, width, 3)
        except (struct.error, zlib.error, ValueError) as error:
            raise StreamError(f"quantizer: damaged stream ({error})") from error
        centre = step // 2 + options.get("steps", 1) - 1
        return np.minimum(samples.astype(np.uint16) * step + centre, 255).astype(np.uint8)

    def _note(self, what: str) -> None:
        if self._log:
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(what + "\n")


class Captioned(Quantizer):
    """Works, and keeps the text beside the image in its stream."""

    name = "captioned"

    @property
    def wants_caption(self) -> bool:
        return True

    def encode(self, image: Image, rate: float, caption: str | None = None) -> bytes:
        # What follows the end of the deflated data is not read.
        return super().encode(image, rate) + (caption or "").encode()

    def decode(self, data: bytes, **options: Any) -> Image:
        height, width, step = struct.unpack_from("<HHB", data)
        samples = zlib.decompressobj().decompress(data[5:])
        return super().decode(struct.pack("<HHB", height, width, step) + zlib.compress(samples), **options)


class Raising(Quantizer):
    """Fails at step 16, as a codec does whose encoder has a bug."""

    name = "raising"

    def encode(self, image: Image, rate: float) -> bytes:
        if rate == 16:
            raise RuntimeError("the encoder\nbroke")
        return super().encode(image, rate)


class Crashing(Quantizer):
    """Takes its process with it at step 16."""

    name = "crashing"

    def encode(self, image: Image, rate: float) -> bytes:
        if rate == 16:
            os._exit(11)
        return super().encode(image, rate)


class Hanging(Quantizer):
    """Never comes back at step 16."""

    name = "hanging"

    def encode(self, image: Image, rate: float) -> bytes:
        if rate == 16:
            time.sleep(600)
        return super().encode(image, rate)


class WrongSize(Quantizer):
    """Returns a row too few at step 16."""

    name = "wrong-size"

    def decode(self, data: bytes, **options: Any) -> Image:
        image = super().decode(data, **options)
        return image[1:] if data[4] == 16 else image


class FloatImage(Quantizer):
    """Returns floats, which the harness must not truncate behind its back."""

    name = "float-image"

    def decode(self, data: bytes, **options: Any) -> Image:
        return super().decode(data, **options).astype(np.float32)  # type: ignore[return-value]


class Scribbling(Quantizer):
    """Tries to change the reference image."""

    name = "scribbling"

    def encode(self, image: Image, rate: float) -> bytes:
        image[:] = 0
        return super().encode(image, rate)


class Unprintable(Quantizer):
    """Raises an error that no file can hold as it is, and much of it."""

    name = "unprintable"

    def decode(self, data: bytes, **options: Any) -> Image:
        raise ValueError("bad name \udcff\nsecond line \x1b[31m\u202e" + "x" * 100_000)


class Wandering(Quantizer):
    """Changes the working directory of its process."""

    name = "wandering"

    def encode(self, image: Image, rate: float) -> bytes:
        os.chdir("/")
        return super().encode(image, rate)
