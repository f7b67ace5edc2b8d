import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from rdcodecs.codec import CodecError
from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.context import STEPS, Context, partition
from rdcodecs.hyperprior.fixed_point import ExactContext, fill_from_integers, quantise
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.train.session import HyperpriorSession
from rdcodecs.hyperprior.weights import load_hyperprior, trainable_hyperprior
from rdcodecs.pixels import to_tensor
from rdcodecs.training.errors import TrainingError
from rdcodecs.training.log import read_log
from rdcodecs.training.loop import Budget
from small_codecs import HYPERPRIOR, hyperprior_session, picture

CONFIG = HyperpriorConfig(levels=2, latent_channels=6, hyper_channels=5, hyper_width=7, context_width=9)


@pytest.fixture(scope="module")
def network() -> Context:
    torch.manual_seed(0)
    made = Context(CONFIG)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    session_with_context(folder, learning_rate=0.003).train(Budget(steps=60))
    return folder


def session_with_context(out: Path, start: Path | None = None, **settings: float) -> HyperpriorSession:
    shape = dataclasses.replace(HYPERPRIOR.model, context_width=8)
    return hyperprior_session(out, start=start, settings={"model": shape} | settings, log_steps=1)


def values(height: int = 5, width: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Known latents and raw parameters, multiples of 2^-6, some of them large."""
    generator = np.random.default_rng(1)
    known = generator.integers(-500, 500, (6, height, width)) / 64
    known[0, 0, 0] = 300
    return known, generator.integers(-500, 500, (12, height, width)) / 64


@pytest.mark.parametrize("shape", [(8, 4, 6), (6, 5, 3), (1, 1, 1)])
def test_each_latent_is_decoded_at_one_step(shape: tuple[int, ...]) -> None:
    masks = partition(shape)
    assert masks.shape == (STEPS, *shape)
    np.testing.assert_array_equal(masks.sum(axis=0), 1)


def test_each_step_takes_another_place_of_each_square_and_channel() -> None:
    masks = partition((8, 4, 6))
    for step, mask in enumerate(masks):
        # One sample of four in every square, in every channel; channels four apart agree, neighbours do not.
        squares = mask.reshape(8, 2, 2, 3, 2).sum(axis=(2, 4))
        np.testing.assert_array_equal(squares, 1)
        np.testing.assert_array_equal(mask[:4], mask[4:])
        assert not (mask[0] & mask[1]).any(), step
    # The second step knows the diagonal neighbour, so that it has known latents on all sides.
    first, second = (np.argwhere(mask[0, :2, :2])[0] for mask in masks[:2])
    assert (first != second).all()


@pytest.mark.parametrize(("step", "level"), [*itertools.product((1, 2, 3), (0, 1))])
def test_equals_whole_numbers_to_the_bit(network: Context, step: int, level: int) -> None:
    tensors, (known, raw) = quantise(network), values()
    found = ExactContext(tensors)(step, known, raw, level)
    np.testing.assert_array_equal(found, in_integers(tensors, f"steps.{step - 1}.", known, raw, level))


def in_integers(
    tensors: dict[str, torch.Tensor], prefix: str, known: np.ndarray, raw: np.ndarray, level: int
) -> np.ndarray:
    """The same in whole numbers of any size, which know no rounding: activations in units of 2^-6."""

    def weights(name: str) -> np.ndarray:
        return tensors[f"{prefix}{name}"].numpy().astype(object)

    def layer(name: str, planes: np.ndarray) -> np.ndarray:
        kernel, reach = weights(f"{name}.weight"), tensors[f"{prefix}{name}.weight"].shape[-1] // 2
        padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), constant_values=0)
        height, width = planes.shape[1:]
        made = 64 * weights(f"{name}.bias")[:, None, None] + np.zeros((1, height, width), dtype=object)
        for dy, dx in itertools.product(range(kernel.shape[2]), range(kernel.shape[3])):
            made = made + np.tensordot(kernel[:, :, dy, dx], padded[:, dy : dy + height, dx : dx + width], axes=1)
        return made

    def to_grid(sums: np.ndarray) -> np.ndarray:
        # From units of 2^-18, halves to the even one.
        whole, rest = sums // 4096, sums % 4096
        rounded = whole + ((rest > 2048) | ((rest == 2048) & (whole % 2 == 1)))
        return np.clip(rounded, -16384, 16384)

    seen = (np.clip(known, -256, 256) * 64).astype(int).astype(object)
    given = (raw * 64).astype(int).astype(object)
    offset = 64 * weights("level")[level][:, None, None]
    features = np.maximum(to_grid(layer("known", seen) + layer("given", given) + offset), 0)
    features = np.maximum(to_grid(layer("second", features)), 0)
    return (to_grid(4096 * given + layer("third", features)) / 64).astype(float)


def test_is_what_was_trained(network: Context) -> None:
    known, raw = values()
    tensors = [torch.from_numpy(value).float()[None] for value in (known.clip(-256, 256), raw)]
    with torch.no_grad():
        trained = network(2, *tensors, torch.tensor([1]))[0].numpy()
    np.testing.assert_allclose(ExactContext(quantise(network))(2, known, raw, 1), trained, atol=0.15)


def test_a_training_goes_on_from_the_integers(network: Context) -> None:
    again = Context(CONFIG)
    fill_from_integers(again, quantise(network))
    for name, value in quantise(again).items():
        assert torch.equal(value, quantise(network)[name]), name


def test_an_untrained_context_changes_nothing() -> None:
    torch.manual_seed(0)
    plain = Hyperprior(dataclasses.replace(CONFIG, context_width=0))
    with_context = Hyperprior(CONFIG)
    with_context.load_state_dict(plain.state_dict(), strict=False)
    images, levels = to_tensor(picture(80, 64)), torch.tensor([1])
    with torch.no_grad():
        one, other = plain(images, levels), with_context(images, levels)
    torch.testing.assert_close(other.bits, one.bits)
    assert torch.equal(other.latents, one.latents)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (16, 16), (17, 200)])
def test_every_size_comes_back_from_the_bytes_alone(trained: Path, size: tuple[int, int]) -> None:
    codec = HyperpriorCodec(weights=str(trained / "model"), device="cpu")
    data, coded = codec.code(picture(*size), 1)
    other = HyperpriorCodec(weights=str(trained / "model"), device="cpu")
    decoded = torch.from_numpy(coded.latents)[None]
    with torch.no_grad():
        expected = codec.model.network.restore(decoded, torch.tensor([1]))[0]
    assert torch.equal(other.read(data).latents, expected)
    assert other.decode(data).shape == (*size, 3)
    made = codec.model.decoded_latents(to_tensor(picture(*size)), torch.tensor([1]))[0]
    assert torch.equal(made, expected)


def test_the_network_estimates_what_coding_takes(trained: Path) -> None:
    codec = HyperpriorCodec(weights=str(trained / "model"), device="cpu")
    image = picture(256, 320)
    _, coded = codec.code(image, 1)
    network = trainable_hyperprior(trained / "model" / "hyperprior", codec.model.config).eval()
    levels = torch.tensor([1])
    with torch.no_grad():
        latents, hyper = network.encode(to_tensor(image), levels)
        decoded, bits = network._in_steps(latents, hyper.round(), levels, None)
    # But for a latent halfway between two whole numbers, which may fall to either.
    near = (decoded[0] - torch.from_numpy(coded.latents)).abs() < 0.05
    assert float(near.float().mean()) > 0.99
    coder = codec.model.coder
    whole = hyper[0].round().int().numpy()
    hyper_bits = coder._hyper_tables.bits(whole.reshape(-1), coder._hyper_index(1, whole.shape))
    # A table gives no value less than 2^-16, a normal distribution does; so little training leaves such values.
    assert float(bits) == pytest.approx(coded.bits - hyper_bits, rel=0.3)


def test_what_is_known_makes_the_rest_cheaper(trained: Path, tmp_path: Path) -> None:
    before = [line for line in read_log(trained / "stage-1") if line["kind"] == "train"]
    assert before[-1]["loss"] < before[0]["loss"]
    network = load_hyperprior(trained / "model" / "hyperprior")
    source = to_tensor(picture(128, 128))
    latents, hyper = (part[0].numpy() for part in network.network.encode(source, torch.tensor([1])))
    whole = network.coder.encode(latents, hyper, 1)
    blind = load_hyperprior(trained / "model" / "hyperprior").coder
    blind._context = None
    assert whole.bits < blind.encode(latents, hyper, 1).bits


def test_a_context_is_added_and_kept(trained: Path, tmp_path: Path) -> None:
    hyperprior_session(tmp_path / "plain").train(Budget(steps=3))
    start = tmp_path / "plain" / "model" / "hyperprior"
    begun = session_with_context(tmp_path / "added", start=start)._task().model
    stored = load_hyperprior(start).network
    assert torch.equal(begun.analysis.head.weight, stored.analysis.head.weight)
    assert begun.context is not None
    # And kept by one that goes on from there.
    start = trained / "model" / "hyperprior"
    kept = session_with_context(tmp_path / "kept", start=start)._task().model.context
    assert kept is not None
    assert bool(kept.steps[0].third.weight.any())
    with pytest.raises(TrainingError, match="another shape than the settings"):
        hyperprior_session(tmp_path / "lost", start=start)._task()


def test_a_file_without_its_context_is_damaged(trained: Path, tmp_path: Path) -> None:
    hyperprior_session(tmp_path).train(Budget(steps=1))
    folder = tmp_path / "model" / "hyperprior"
    config = (trained / "model" / "hyperprior" / "config.json").read_text()
    (folder / "config.json").write_text(config)
    with pytest.raises(CodecError, match="damaged"):
        load_hyperprior(folder)
