import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from rdcodecs import CodecError, load_codec
from rdcodecs.codec import MissingDependencyError, OptionError, RateError, StreamError
from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.weights import trainable_hyperprior
from rdcodecs.pixels import to_tensor
from rdtrain.core.loop import Budget
from rdtrain.core.state import load_module, load_state
from small_codecs import hyperprior_training, picture


@pytest.fixture(scope="module")
def codec(small_weights: Path) -> HyperpriorCodec:
    made = load_codec("hyperprior", weights=str(small_weights), device="cpu")
    assert isinstance(made, HyperpriorCodec)
    return made


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 80), (100, 71)])
def test_every_size_comes_back_from_the_bytes_alone(codec: HyperpriorCodec, size: tuple[int, int]) -> None:
    image = picture(*size)
    data, coded = codec.code(image, 1)
    stored = codec.read(data)
    assert stored.size == size
    assert stored.level == 1
    # The decoder has the very latents that the encoder meant.
    restored = codec.model.network.restore(torch.from_numpy(coded.latents[None]), torch.tensor([1]))[0]
    np.testing.assert_array_equal(stored.latents.numpy(), restored.numpy())
    assert codec.decode(data).shape == image.shape


def test_the_stream_is_as_long_as_the_model_says(codec: HyperpriorCodec) -> None:
    for level in (0, 1):
        data, coded = codec.code(picture(128, 160), level)
        assert coded.bits / 8 < len(data) <= 1.02 * coded.bits / 8 + 8


def test_a_higher_level_is_closer_and_larger(codec: HyperpriorCodec) -> None:
    image = picture(96, 96)
    low, high = (codec.encode(image, level) for level in (0, 1))
    assert len(low) < len(high)


def test_another_process_decodes_the_same(codec: HyperpriorCodec, small_weights: Path) -> None:
    data = codec.encode(picture(70, 50), 1)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        other = pool.submit(decode_elsewhere, str(small_weights), data).result()
    np.testing.assert_array_equal(codec.decode(data), other)


def decode_elsewhere(weights: str, data: bytes) -> np.ndarray:
    return load_codec("hyperprior", weights=weights, device="cpu").decode(data)


def test_damage_is_always_noticed(codec: HyperpriorCodec) -> None:
    data = codec.encode(picture(64, 64), 1)
    for bit in range(0, 8 * len(data), 7):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            codec.decode(bytes(damaged))
    for length in range(0, len(data), 5):
        with pytest.raises(StreamError):
            codec.decode(data[:length])
    with pytest.raises(StreamError, match="not a hyperprior stream"):
        codec.decode(b"\xff\xd8\xff\xe0" + bytes(50))


def test_other_weights_are_noticed(codec: HyperpriorCodec, small_weights: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path, seed=1).train(Budget(steps=2))
    other = HyperpriorCodec(weights=str(tmp_path / "model"), device="cpu")
    assert other.fingerprint() != codec.fingerprint()
    with pytest.raises(StreamError, match="made with other weights"):
        other.decode(codec.encode(picture(64, 64), 0))


def test_rates_and_options_out_of_range(codec: HyperpriorCodec) -> None:
    with pytest.raises(RateError, match="these weights have the levels 0 to 1, not 5"):
        codec.encode(picture(32, 32), 5)
    with pytest.raises(RateError, match="level 8 is out of range: use 0 to 7"):
        codec.encode(picture(32, 32), 8)
    with pytest.raises(OptionError, match="'hyperprior' has no decode option 'steps'"):
        codec.decode(codec.encode(picture(32, 32), 0), steps=3)


def test_weights_that_are_missing_or_damaged(small_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="no folder of weights 'nowhere'"):
        HyperpriorCodec(weights="nowhere")
    copy = Path(shutil.copytree(small_weights / "hyperprior", tmp_path / "w" / "hyperprior"))
    (copy / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CodecError, match=r"model\.safetensors' is damaged or of another version"):
        HyperpriorCodec(weights=str(tmp_path / "w")).check()
    (copy / "model.safetensors").unlink()
    with pytest.raises(MissingDependencyError, match=r"lacks model\.safetensors"):
        HyperpriorCodec(weights=str(tmp_path / "w")).check()
    (copy / "config.json").write_text('{"format": 99}')
    with pytest.raises(CodecError, match="of a format that this version does not read"):
        HyperpriorCodec(weights=str(tmp_path / "w")).check()
    (copy / "config.json").unlink()
    with pytest.raises(MissingDependencyError, match=r"lacks config\.json"):
        HyperpriorCodec(weights=str(tmp_path / "w")).check()


def test_what_is_exported_draws_what_was_trained(codec: HyperpriorCodec, small_weights: Path) -> None:
    state = load_state(small_weights.parent / "stage-1")
    assert state is not None
    network = Hyperprior(codec.model.config)
    load_module("average", network, state.tensors)
    image = picture(128, 160)
    with torch.no_grad():
        estimate = network(to_tensor(image), torch.tensor([1]))
    made = codec.decode(codec.encode(image, 1)).astype(float)
    wanted = estimate.images[0].permute(1, 2, 0).clamp(-1, 1).add(1).mul(127.5).numpy()
    # fp16 weights and a fixed-point mean: not the same, but close
    assert np.abs(made - wanted).mean() < 2


def test_the_model_estimates_what_coding_takes() -> None:
    # In floating point, with Gaussians and a logistic prior, against tables that were counted.
    codec = HyperpriorCodec(device="cpu")
    network = trainable_hyperprior(codec.model.folder, codec.model.config).eval()
    image = astronaut()[:160, :128]
    with torch.no_grad():
        estimate = network(to_tensor(image), torch.tensor([3]))
    _, coded = codec.code(image, 3)
    assert float(estimate.bits) == pytest.approx(coded.bits, rel=0.1)
