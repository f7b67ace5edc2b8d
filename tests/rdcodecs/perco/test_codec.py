import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rdcodecs.codec import CodecError, MissingDependencyError, OptionError, RateError, StreamError
from rdcodecs.perco.codec import PerCoCodec
from rdcodecs.perco.config import HyperEncoderConfig
from rdcodecs.perco.hyper_encoder import HyperEncoder
from rdcodecs.stream import Stream, read_stream, write_stream
from small_codecs import picture


@pytest.fixture(scope="module")
def codec(small_perco: Path) -> PerCoCodec:
    return PerCoCodec(model=str(small_perco), device="cpu")


@pytest.fixture(scope="module")
def public(public_checkpoint: Path) -> PerCoCodec:
    """A public checkpoint, steered by captions."""
    return PerCoCodec(model=str(public_checkpoint), caption="sidecar", device="cpu")


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 80), (100, 71)])
@pytest.mark.parametrize("level", [0, 1])
def test_every_size_comes_back_from_the_bytes_alone(codec: PerCoCodec, size: tuple[int, int], level: int) -> None:
    image = picture(*size)
    data = codec.encode(image, level)
    stored = codec.read(data)
    assert (stored.size, stored.level, stored.caption) == (size, level, "")
    assert codec.decode(data, steps=2).shape == image.shape
    with torch.inference_mode():
        meant = codec.model.points[level].encoder(codec.model.prior.encode(image)).indices[0]
    np.testing.assert_array_equal(stored.indices, meant.numpy())


@pytest.mark.parametrize("size", [(16, 16), (40, 90)])
def test_a_public_checkpoint_codes_every_size(public: PerCoCodec, size: tuple[int, int]) -> None:
    data = public.encode(picture(*size), 0, caption="a b c")
    assert public.read(data).caption == "a b c"
    assert public.decode(data, steps=2).shape == (*size, 3)


def test_the_same_bytes_give_the_same_picture(codec: PerCoCodec, small_perco: Path) -> None:
    data = codec.encode(picture(70, 50), 1)
    first = codec.decode(data, steps=3)
    torch.manual_seed(99)
    np.testing.assert_array_equal(codec.decode(data, steps=3), first)
    np.testing.assert_array_equal(PerCoCodec(model=str(small_perco), device="cpu").decode(data, steps=3), first)
    assert (codec.decode(data, steps=4) != first).any()


def test_every_byte_is_accounted_for(public: PerCoCodec) -> None:
    caption = "two red birds on a wooden fence in the snow"
    data = public.encode(picture(128, 96), 0, caption)
    sizes = public.sizes(data)
    assert sizes.header == 7
    assert sizes.header + sizes.text + sizes.indices == len(data)
    assert sizes.uniform_indices == 8 * 6 * 8
    assert sizes.text < sizes.reference_text
    without = public.sizes(public.encode(picture(128, 96), 0))
    assert (without.text, without.reference_text, without.indices) == (0, 0, sizes.indices)


def test_the_caption_steers_and_guidance_has_a_scale(public: PerCoCodec, public_checkpoint: Path) -> None:
    image = picture(48, 48)
    with_text, without = public.encode(image, 0, "a"), public.encode(image, 0)
    stronger = PerCoCodec(model=str(public_checkpoint), caption="sidecar", guidance=9, device="cpu")
    assert (public.decode(with_text, steps=3) != stronger.decode(with_text, steps=3)).any()
    # Without a caption there is nothing to guide.
    np.testing.assert_array_equal(public.decode(without, steps=3), stronger.decode(without, steps=3))
    assert public.fingerprint() != stronger.fingerprint()


def test_text_is_sent_where_it_is_asked_for(public: PerCoCodec, public_checkpoint: Path) -> None:
    assert public.wants_caption
    assert public.read(public.encode(picture(32, 32), 0, "  a b \n")).caption == "a b"
    silent = PerCoCodec(model=str(public_checkpoint), device="cpu")
    assert not silent.wants_caption
    assert silent.read(silent.encode(picture(32, 32), 0, "a b")).caption == ""
    long = public.encode(picture(32, 32), 0, "ab cd " * 999)
    assert 1990 <= len(public.read(long).caption.encode()) <= 2000


def test_captions_need_a_text_encoder(small_perco: Path) -> None:
    for caption in ("sidecar", "blip2"):
        codec = PerCoCodec(model=str(small_perco), caption=caption, device="cpu")  # type: ignore[arg-type]
        with pytest.raises(CodecError, match="has no text encoder: it is not steered by captions"):
            codec.check()


def test_a_captioner_that_cannot_be_had_is_named(public_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "blip2").mkdir()
    codec = PerCoCodec(model=str(public_checkpoint), caption="blip2", captioner=str(tmp_path / "blip2"), device="cpu")
    with pytest.raises(MissingDependencyError, match=r"cannot be had: .* use caption='none' or 'sidecar'") as caught:
        codec.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("grid", "size", "steps"),
    [(8, 256, 20), (16, 1024, 20), (32, 256, 20), (32, 8196, 5), (64, 64, 5), (64, 256, 5)],
)
def test_steps_default_to_the_references(codec: PerCoCodec, grid: int, size: int, steps: int) -> None:
    """20 at 0.05 bits per pixel and below, 5 above."""
    shape = HyperEncoderConfig(4, 8, 8, 4, grid, size)
    point = dataclasses.replace(codec.model.points[0], encoder=HyperEncoder(shape))
    assert codec._steps({}, point) == codec._steps({"steps": None}, point) == steps
    assert codec._steps({"steps": 7}, point) == 7


def test_the_streams_rate_point_decides_the_steps(codec: PerCoCodec) -> None:
    """Level 0 has 16 entries at a grid of 32: 1/64 bits per pixel; level 1 has 8 at 64: 3/64."""
    for level in (0, 1):
        data = codec.encode(picture(32, 32), level)
        np.testing.assert_array_equal(codec.decode(data), codec.decode(data, steps=20))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"caption": "guess"}, "caption must be one of none, sidecar, blip2, not 'guess'"),
        ({"guidance": "3"}, "guidance must be a number from 0 to 100, not '3'"),
        ({"guidance": -1}, "guidance must be a number from 0 to 100, not -1"),
    ],
)
def test_options_are_checked(small_perco: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        PerCoCodec(model=str(small_perco), device="cpu", **options)  # type: ignore[arg-type]


def test_decode_options_are_checked(codec: PerCoCodec) -> None:
    data = codec.encode(picture(32, 32), 0)
    for steps in (0, 1001, 2.5, True, "5"):
        with pytest.raises(OptionError, match="steps must be a whole number from 1 to 1000, not"):
            codec.decode(data, steps=steps)
    with pytest.raises(OptionError, match="codec 'perco' has no decode option 'step': have steps"):
        codec.decode(data, step=5)


def test_a_level_the_model_has_not_is_refused(codec: PerCoCodec) -> None:
    with pytest.raises(RateError, match="this model has the levels 0 to 1, not 2"):
        codec.encode(picture(32, 32), 2)
    with pytest.raises(RateError, match="out of range"):
        codec.encode(picture(32, 32), 16)


def test_no_folder_is_said_so() -> None:
    with pytest.raises(MissingDependencyError, match="there is no folder of weights 'nowhere'"):
        PerCoCodec(model="nowhere")


def test_damage_is_always_noticed(public: PerCoCodec) -> None:
    data = public.encode(picture(64, 64), 0, "a dog on a beach")
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            public.read(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(StreamError):
            public.decode(data[:length])
    for wrong in (data + b"\0", b"", b"\xff\xd8\xff\xe0" + bytes(50)):
        with pytest.raises(StreamError):
            public.decode(wrong)


def test_damage_that_the_checksum_misses_is_noticed_or_harmless(public: PerCoCodec) -> None:
    """A payload, level and flags of any kind under a right checksum: typed errors, or indices that there are."""
    digest = public.model.digest
    good = read_stream(public.encode(picture(64, 64), 0, "a dog on a beach"), "perco", digest)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        payload = bytearray(good.payload)
        for _ in range(rng.integers(1, 4)):
            payload[rng.integers(len(payload))] = rng.integers(256)
        made = dataclasses.replace(
            good,
            payload=bytes(payload[: rng.integers(1, len(payload) + 1)]),
            level=int(rng.choice([0, 0, 0, 5])),
            flags=int(rng.integers(16)),
        )
        try:
            stored = public.read(write_stream(made, digest))
        except StreamError:
            refused += 1
            continue
        assert stored.indices.min() >= 0
        assert stored.indices.max() < 256
    assert refused > 200


def test_other_weights_are_noticed(public: PerCoCodec, codec: PerCoCodec) -> None:
    with pytest.raises(StreamError, match="made with other weights"):
        codec.decode(public.encode(picture(32, 32), 0))
    stream = Stream("hyperprior", 0, 32, 32, b"abc")
    with pytest.raises(StreamError, match="not a perco stream but a hyperprior one"):
        codec.decode(write_stream(stream, codec.model.digest))
