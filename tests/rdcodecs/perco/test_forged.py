"""Streams that no encoder wrote, with a checksum that is right: typed errors, or a picture of the size they state."""

import zlib

import numpy as np
import pytest

from forged_streams import forge, sealed, split
from rdcodecs.codec import CodecError, StreamError
from rdcodecs.entropy import Encoder, uniform_table
from rdcodecs.perco.codec import PerCoCodec
from rdcodecs.perco.index_models import AdaptiveModel, UniformModel, neighbours_of, padded, passes
from small_codecs import picture


@pytest.fixture(scope="module")
def codec() -> PerCoCodec:
    return PerCoCodec(device="cpu")


@pytest.fixture(scope="module")
def stream(codec: PerCoCodec) -> bytes:
    return codec.encode(picture(64, 80), 2)


def reason(codec: PerCoCodec, data: bytes) -> str:
    with pytest.raises(StreamError) as caught:
        codec.read(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_levels_and_flags_that_the_model_has_not(codec: PerCoCodec, stream: bytes) -> None:
    _, payload = split(stream)
    for level in range(len(codec.model.points), 16):
        data = forge(codec.model.digest, kind="perco", level=level, payload=payload)
        assert f"its level reads {level}" in reason(codec, data)
    for flags in (3, 7, *range(8, 16)):
        data = forge(codec.model.digest, kind="perco", level=2, flags=flags, payload=payload)
        assert f"its flags {'' if flags > 7 else 'read '}{flags}" in reason(codec, data)


def test_payloads_of_another_length_size_or_model(codec: PerCoCodec, stream: bytes) -> None:
    header, payload = split(stream)
    assert sealed(codec.model.digest, header, payload) == stream
    for other in (b"", payload[:-1], payload[: len(payload) // 2], payload + b"\0", payload * 3, bytes(len(payload))):
        assert "damaged" in reason(codec, sealed(codec.model.digest, header, other))
    for size in ((16, 16), (80, 128), (2000, 2000), (8000, 8000)):
        data = forge(codec.model.digest, kind="perco", level=2, flags=header[1] & 15, size=size, payload=payload)
        assert "damaged" in reason(codec, data)


def test_what_cannot_be_in_so_few_bytes_is_refused_before_it_is_read(codec: PerCoCodec) -> None:
    for level in range(len(codec.model.points)):
        for flags in range(3):
            data = forge(
                codec.model.digest, kind="perco", level=level, flags=flags, size=(8000, 8000), payload=bytes(9)
            )
            assert "a picture of its size takes at least" in reason(codec, data)


@pytest.mark.parametrize("model", [UniformModel, AdaptiveModel])
@pytest.mark.parametrize("size", [2, 64, 1024, 8196])
def test_no_index_costs_less_than_the_least(model: type[UniformModel], size: int) -> None:
    made = model(size)
    least = made.least_bits
    grid = padded((8, 9), size)
    total, count = 0.0, 0
    for number, row, columns in passes((8, 9)):
        neighbours = neighbours_of(grid, number, row, columns)
        book = made.book(neighbours, number)
        assert book.least_bits.min() >= least - 1e-12
        indices = np.zeros(columns.size, dtype=np.int32)
        total += book.bits(indices, np.arange(columns.size))
        count += columns.size
        made.learn(indices, neighbours, number)
        grid[row + 1, columns + 1] = indices
    assert total >= count * least


def test_an_index_outside_the_codebook(codec: PerCoCodec) -> None:
    # The escape of the uniform model's table, which no encoder uses.
    size = codec.model.points[0].coder.size
    encoder = Encoder()
    rows = codec.model.points[0].encoder.grid_size(codec.model.prior.latent_size((64, 64)))
    for number, row, columns in passes(rows):
        made = UniformModel(size)
        book = made.book(neighbours_of(padded(rows, size), number, row, columns), number)
        encoder.put(np.full(columns.size, size + 5, dtype=np.int32), np.arange(columns.size), book)
    data = forge(codec.model.digest, kind="perco", payload=encoder.finish())
    assert "it has an index that the codebook has not" in reason(codec, data)
    assert uniform_table(size).least_bits.shape == (1,)


@pytest.mark.parametrize(
    "text",
    [b"", b"\0", b"\xff\xfe", "\ud800".encode("utf-8", "surrogatepass"), bytes(5_000_000), b"a" * 2001],
    ids=["empty", "NUL", "not UTF-8", "surrogate", "bomb", "too long"],
)
def test_captions_that_no_encoder_wrote(codec: PerCoCodec, stream: bytes, text: bytes) -> None:
    header, payload = split(stream)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    caption = packer.compress(text) + packer.flush()
    data = sealed(codec.model.digest, header[:1] + bytes([header[1] | 4]) + header[2:], caption + payload)
    try:
        codec.decode(data, steps=1)  # this model has no text encoder
    except CodecError as error:
        assert "\n" not in str(error)  # noqa: PT017 - of whichever kind
    else:
        assert text == b""


@pytest.mark.parametrize("seed", range(4))
def test_random_payloads(codec: PerCoCodec, seed: int) -> None:
    random = np.random.default_rng(seed)
    for level in range(len(codec.model.points)):
        for flags in (0, 1, 2, 4):
            payload = random.bytes(int(random.integers(1, 200)))
            data = forge(codec.model.digest, kind="perco", level=level, flags=flags, payload=payload)
            assert "damaged" in reason(codec, data)


def test_a_stream_of_valid_indices_is_a_picture(codec: PerCoCodec) -> None:
    random = np.random.default_rng(0)
    point = codec.model.points[1]
    rows = point.encoder.grid_size(codec.model.prior.latent_size((48, 64)))
    indices = random.integers(0, point.coder.size, rows, dtype=np.int32)
    for flags, name in enumerate(("uniform", "adaptive", "learned")):
        payload = point.coder.encode_with_all(indices)[name]  # type: ignore[index]
        data = forge(codec.model.digest, kind="perco", level=1, flags=flags, size=(64, 48), payload=payload)
        assert codec.decode(data, steps=1).shape == (48, 64, 3)
