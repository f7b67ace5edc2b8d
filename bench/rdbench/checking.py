"""Does a codec keep to its interface? A list of findings, each tried in fresh processes."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rdbench.describing import describe_codec, forget
from rdbench.hosting import CodecCrashError, CodecFailureError, CodecTimeoutError, Configuration, Lane
from rdbench.hosting.lane import image_sha256
from rdbench.keys import digest
from rdbench.measure import decoy, distance, error_text
from rdcodecs import CodecError, Image
from rdcodecs.codec import MIN_SIDE
from rdcodecs.description import CodecDescription

Verdict = Literal["ok", "WARN", "FAIL"]

_SIDES = (192, 256)
_POOR_DB = 12.0
_FLIPS = 12


@dataclass(frozen=True)
class Finding:
    """What one trial has shown.

    Attributes:
        verdict: "FAIL" for what a run would make error rows of, or count wrongly; "WARN" for what may be meant so.
        what: what was tried.
        detail: what came of it, one line.
    """

    verdict: Verdict
    what: str
    detail: str


def check_codec(
    codec: str, options: Mapping[str, Any], *, rate: float | None = None, limit_s: float = 600.0
) -> Iterator[Finding]:
    """Try a codec out, and yield each finding as it is made.

    Args:
        codec: registered name or ``path/to/file.py:Class``.
        options: its options.
        rate: the rate point to try; by default the middle one of its default rates, or of its range.
        limit_s: seconds that one call may take.

    Raises:
        CodecError: there is no such codec, or the rate is out of its range.
    """
    try:
        described = describe_codec(codec, options, limit_s=limit_s, complete=True)
        forget()
        again = describe_codec(codec, options, limit_s=limit_s, complete=True)
    except CodecError as error:
        yield Finding("FAIL", "description", str(error))
        return
    if digest(described.fingerprint) != digest(again.fingerprint):
        yield Finding("FAIL", "fingerprint", "it differs between two processes: nothing measured would ever be known")
        return
    yield Finding(
        "ok", "description", f"'{described.name}', {described.rate.name}, fingerprint {digest(described.fingerprint)}"
    )
    if rate is None:
        rate = _middle(described)
    described.rate.validate(rate)
    trial = _Trial(described, options, rate, limit_s)
    try:
        yield from trial.findings()
    finally:
        trial.lane.close()


class _Trial:
    def __init__(self, described: CodecDescription, options: Mapping[str, Any], rate: float, limit_s: float) -> None:
        assert described.fingerprint is not None  # noqa: S101 - for the type checker
        self.described, self.rate, self.limit_s = described, rate, limit_s
        self.wanted = Configuration(
            described.codec, dict(options), described.fingerprint, described.costly, None, limit_s
        )
        self.lane = Lane(threads=1)
        self.seconds = [0.0, 0.0]

    def encode(self, image: Image, rate: float | None = None, lane: Lane | None = None) -> bytes:
        data, self.seconds[0] = (lane or self.lane).encode(
            self.wanted,
            image,
            image_sha256(image),
            self.rate if rate is None else rate,
            None,
            deadline=time.monotonic() + self.limit_s,
        )
        return data

    def decode(self, data: bytes, image: Image, lane: Lane | None = None) -> Image:
        options = dict(self.described.decode_options)
        decoded, self.seconds[1] = (lane or self.lane).decode(
            self.wanted, data, options, image.shape, deadline=time.monotonic() + self.limit_s
        )
        return decoded

    def findings(self) -> Iterator[Finding]:
        image = _picture(*_SIDES)
        try:
            data = self.encode(image)
            decoded = self.decode(data, image)
        except CodecFailureError as error:
            yield Finding("FAIL", "round trip", error_text(error))
            return
        quality, bpp = _psnr(image, decoded), 8 * len(data) / (image.shape[0] * image.shape[1])
        name = self.described.rate.name
        detail = f"{_size(image)} at {name} {self.rate:g} in another process: {bpp:.3f} bpp, {quality:.2f} dB PSNR"
        poor = quality < _POOR_DB
        yield Finding("WARN" if poor else "ok", "round trip", detail + (": is it the same picture?" if poor else ""))
        yield from self._speed(image, data)
        yield from self._determinism(image, data, decoded)
        yield from self._threads(image, data, decoded)
        yield from self._pictures()
        yield self._rates()
        yield from self._damage(image, data)

    def _speed(self, image: Image, data: bytes) -> Iterator[Finding]:
        megapixels = image.shape[0] * image.shape[1] / 1e6
        self.encode(image)
        self.decode(data, image)
        encode, decode = (seconds / megapixels for seconds in self.seconds)
        detail = f"encode {encode:.3g} s, decode {decode:.3g} s per megapixel, on one thread"
        yield Finding("ok", "speed", detail)

    def _determinism(self, image: Image, data: bytes, decoded: Image) -> Iterator[Finding]:
        self.lane.divert(self.wanted, decoy(image), self.rate, limit_s=self.limit_s)
        self.lane.renew(self.wanted)
        try:
            again = self.decode(data, image)
            data_again = self.encode(image)
        except CodecFailureError as error:
            yield Finding("FAIL", "determinism", f"in a fresh process: {error_text(error)}")
            return
        if not np.array_equal(decoded, again):
            yield Finding("FAIL", "determinism", f"two decodes of the same bytes differ: {distance(decoded, again)}")
        elif data != data_again:
            detail = f"the same image gave {len(data)} bytes, then {len(data_again)} others"
            yield Finding("WARN", "determinism", detail)
        else:
            yield Finding("ok", "determinism", "the same bytes and the same image in fresh processes")

    def _threads(self, image: Image, data: bytes, decoded: Image) -> Iterator[Finding]:
        lane = Lane(threads=2)
        try:
            data_two = self.encode(image, lane=lane)
            decoded_two = self.decode(data, image, lane=lane)
        except CodecFailureError as error:
            yield Finding("FAIL", "threads", f"with two threads: {error_text(error)}")
            return
        finally:
            lane.close()
        if not np.array_equal(decoded, decoded_two):
            yield Finding("FAIL", "threads", f"with two threads decode differs: {distance(decoded, decoded_two)}")
        elif data != data_two:
            yield Finding("WARN", "threads", "with two threads encode gives other bytes: results depend on --threads")
        else:
            yield Finding("ok", "threads", "the same bytes and the same image with one thread and with two")

    def _pictures(self) -> Iterator[Finding]:
        noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        flat = np.full((MIN_SIDE, MIN_SIDE, 3), 128, np.uint8)
        trials = {
            "16x16": _picture(16, 16),
            "odd sides": _picture(17, 31),
            "1:10": _picture(16, 160),
            "gray": np.full((48, 64, 3), 128, np.uint8),
            "noise": noise,
        }
        for what, image in trials.items():
            try:
                data = self.encode(image)
                decoded = self.decode(data, image)
            except CodecFailureError as error:
                yield Finding("FAIL", what, f"{_size(image)}: {error_text(error)}")
                continue
            yield Finding("ok", what, f"{_size(image)}: {len(data)} bytes, {_psnr(image, decoded):.2f} dB PSNR")
        spec = self.described.rate
        least = min([self.rate, *self.described.default_rates], key=lambda r: r if spec.higher_is_larger else -r)
        try:
            size = len(self.encode(flat, least))
        except CodecFailureError as error:
            yield Finding("WARN", "header", f"a flat 16x16 image at {spec.name} {least:g}: {error_text(error)}")
        else:
            yield Finding("ok", "header", f"a flat 16x16 image at {spec.name} {least:g} takes {size} bytes")

    def _rates(self) -> Finding:
        image = _picture(32, 48)
        rates = sorted({*self.described.default_rates, self.rate})
        for rate in rates:
            try:
                self.decode(self.encode(image, rate), image)
            except CodecFailureError as error:
                return Finding("FAIL", "rates", f"{self.described.rate.name} {rate:g}: {error_text(error)}")
        return Finding("ok", "rates", f"{len(rates)} of them, from {rates[0]:g} to {rates[-1]:g}")

    def _damage(self, image: Image, data: bytes) -> Iterator[Finding]:
        cuts = sorted({0, 1, len(data) // 3, len(data) // 2, max(0, len(data) - 1)} - {len(data)})
        yield self._tried("truncated", [data[:cut] for cut in cuts], image, quiet="WARN")
        random = np.random.default_rng(2)
        flipped = []
        for _ in range(_FLIPS):
            damaged = bytearray(data)
            damaged[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
            flipped.append(bytes(damaged))
        yield self._tried("damaged", flipped, image, quiet="ok")
        strange = [random.bytes(size) for size in (9, 100, len(data))]
        yield self._tried("not a stream", strange, image, quiet="WARN")

    def _tried(self, what: str, streams: list[bytes], image: Image, *, quiet: Verdict) -> Finding:
        """Decode what is no whole stream: it must raise `CodecError`, or at the worst give a picture of that size."""
        unnoticed = 0
        for data in streams:
            try:
                self.decode(data, image)
                unnoticed += 1
            except (CodecCrashError, CodecTimeoutError) as error:
                return Finding("FAIL", what, f"of {len(data)} bytes: {error_text(error)}")
            except CodecFailureError as error:
                if error.base == "ContractError":
                    return Finding("FAIL", what, f"of {len(data)} bytes, taken for a stream: {error.said}")
                if error.base is None:
                    detail = f"of {len(data)} bytes: {error_text(error)}: raise StreamError"
                    return Finding("FAIL", what, detail)
        if not unnoticed:
            return Finding("ok", what, f"{len(streams)} streams, each refused by name")
        return Finding(quiet, what, f"{unnoticed} of {len(streams)} streams were not noticed: they gave a picture")


def _middle(described: CodecDescription) -> float:
    """Return the middle one of a codec's default rates or, where it has none, of its range."""
    rates, spec = sorted(described.default_rates), described.rate
    if rates:
        return rates[len(rates) // 2]
    middle = spec.low if math.isinf(spec.high) else (spec.low + spec.high) / 2
    return math.ceil(middle) if spec.integer else middle


def _picture(height: int, width: int) -> Image:
    """Return a picture with smooth parts, edges and some texture."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    random = np.random.default_rng(0)
    planes = [
        128 + 80 * np.sin(x / 23 + phase) * np.cos(y / 31 + phase) + 25 * ((x // 16 + y // 24) % 2)
        for phase in (0.0, 0.6, 1.9)
    ]
    pixels = np.stack(planes, axis=2) + random.normal(0, 3, (height, width, 1))
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def _psnr(image: Image, decoded: Image) -> float:
    error = float(np.mean((image.astype(np.float64) - decoded) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
