"""Streams that no encoder wrote, with a checksum that is right: typed errors, and no memory for empty words."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forged_streams import forge, sealed, split
from rdcodecs.codec import StreamError
from rdcodecs.entropy import Encoder
from rdcodecs.hyperprior.codec import HyperpriorCodec
from small_codecs import picture


@pytest.fixture(scope="module")
def codec(small_weights: Path) -> HyperpriorCodec:
    return HyperpriorCodec(weights=str(small_weights), device="cpu")


@pytest.fixture(scope="module")
def shipped() -> HyperpriorCodec:
    return HyperpriorCodec(device="cpu")


def reason(codec: HyperpriorCodec, data: bytes) -> str:
    with pytest.raises(StreamError) as caught:
        codec.decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_level_that_the_weights_have_not(shipped: HyperpriorCodec) -> None:
    _, payload = split(shipped.encode(picture(64, 64), 3))
    for level in range(8, 16):
        data = forge(shipped.model.digest, level=level, payload=payload)
        assert f"its level reads {level}" in reason(shipped, data)


def test_flags_that_the_codec_has_not(codec: HyperpriorCodec) -> None:
    _, payload = split(codec.encode(picture(64, 64), 1))
    for flags in range(2, 16):
        assert f"its flags {flags}" in reason(codec, forge(codec.model.digest, level=1, flags=flags, payload=payload))


@pytest.mark.parametrize("length", range(6))
def test_statistics_that_end_early(codec: HyperpriorCodec, length: int) -> None:
    data = forge(codec.model.digest, flags=1, payload=bytes(length))
    assert "its colour statistics end early" in reason(codec, data)


def test_a_payload_of_another_length_or_size(codec: HyperpriorCodec) -> None:
    data = codec.encode(picture(96, 80), 1)
    header, payload = split(data)
    assert sealed(codec.model.digest, header, payload) == data
    for other in (payload[:-1], payload[:-4], payload[: len(payload) // 2], b"", payload + b"\0", payload * 2):
        assert "damaged" in reason(codec, sealed(codec.model.digest, header, other))
    for size in ((80, 112), (96, 96), (16, 16), (160, 192), (1000, 1000)):
        assert "damaged" in reason(codec, forge(codec.model.digest, level=1, size=size, payload=payload))


@pytest.mark.parametrize("seed", range(8))
def test_random_payloads(codec: HyperpriorCodec, seed: int) -> None:
    random = np.random.default_rng(seed)
    for length in (1, 7, 100, 3000):
        data = forge(codec.model.digest, level=seed % 2, size=(128, 96), payload=random.bytes(length))
        assert "damaged" in reason(codec, data)


def test_symbols_far_out_are_a_picture_or_an_error(codec: HyperpriorCodec) -> None:
    # Every hyper-latent, then every latent, as large as the escape code can say.
    config = codec.model.config
    coder = codec.model.coder
    for most in ((1 << 20) - 1, 1 - (1 << 20), 70_000):
        encoder = Encoder()

        def put(mask: np.ndarray, mean: np.ndarray, index: np.ndarray, to: Encoder = encoder, by: int = most) -> object:
            symbols = np.full(index.size, by, dtype=np.int32)
            to.put(symbols, index, coder._latent_tables)
            return symbols

        hyper = np.full((config.hyper_channels, 1, 1), most, dtype=np.int32)
        encoder.put(hyper.reshape(-1), coder._hyper_index(1, hyper.shape), coder._hyper_tables)
        coder._in_steps(hyper, 1, (config.latent_channels, 4, 4), put)  # type: ignore[arg-type]
        data = forge(codec.model.digest, level=1, payload=encoder.finish())
        try:
            assert codec.decode(data).shape == (64, 64, 3)
        except StreamError as error:
            assert "not numbers" in str(error)  # noqa: PT017 - either is right


def test_what_cannot_be_in_so_few_bytes_takes_no_memory(shipped: HyperpriorCodec) -> None:
    for size in ((8000, 8000), (8192, 8192), (65000, 1000)):
        said = reason(shipped, forge(shipped.model.digest, level=7, size=size, payload=bytes(13)))
        assert "a picture of its size takes at least" in said
        assert "has 13" in said


def test_what_a_picture_costs_at_the_least_is_never_more_than_it_costs(shipped: HyperpriorCodec) -> None:
    # The cheapest pictures there are, at the cheapest level.
    for value in (0, 128, 255):
        image = np.full((512, 512, 3), value, np.uint8)
        for level in (0, 7):
            data = shipped.encode(image, level)
            assert shipped.decode(data).shape == image.shape


_CHILD = """
import resource, sys
from rdcodecs.codec import StreamError
from rdcodecs.hyperprior.codec import HyperpriorCodec
codec = HyperpriorCodec(device="cpu")
codec.check()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.stdin.read().split():
    try:
        codec.decode(bytes.fromhex(name))
    except StreamError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_memory_before_a_forged_size_is_refused(shipped: HyperpriorCodec) -> None:
    streams = [
        forge(shipped.model.digest, size=size, payload=payload).hex()
        for size in ((65535, 65535), (8000, 8000), (8192, 8192))
        for payload in (b"", bytes(13), bytes(range(256)) * 8)
    ]
    command = [sys.executable, "-c", _CHILD]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    made = subprocess.run(command, input="\n".join(streams), env=env, capture_output=True, text=True, check=True)
    assert int(made.stdout) < 100 * 1024  # KiB: a real picture of 8000x8000 takes gigabytes
