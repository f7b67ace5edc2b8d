import dataclasses
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rdcodecs.codec import CodecError
from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.context import STEPS, Context, partition
from rdcodecs.hyperprior.fixed_point import ExactContext, fill_from_integers, quantise
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.packing import load_packed, save_packed
from rdcodecs.hyperprior.weights import load_hyperprior, trainable_hyperprior
from rdcodecs.pixels import to_tensor
from rdtrain.core.errors import TrainingError
from rdtrain.core.loop import Budget
from rdtrain.core.recipe import Training
from rdtrain.hyperprior.task import HyperpriorTask
from small_codecs import HYPERPRIOR, hyperprior_training, picture

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
    training_with_context(folder, learning_rate=0.003).train(Budget(steps=60))
    return folder


def training_with_context(out: Path, start: Path | None = None, **settings: float) -> Training[HyperpriorTask]:
    shape = dataclasses.replace(HYPERPRIOR.model, context_width=8)
    return hyperprior_training(out, start=start, settings={"model": shape} | settings, log_steps=1)


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


@pytest.mark.parametrize(("step", "level"), [*itertools.product((1, 2, 3), (0, 1))])
def test_is_what_was_trained(network: Context, step: int, level: int) -> None:
    known, raw = values()
    tensors = [torch.from_numpy(value).float()[None] for value in (known.clip(-256, 256), raw)]
    with torch.no_grad():
        trained = network(step, *tensors, torch.tensor([level]))[0].numpy()
    np.testing.assert_allclose(ExactContext(quantise(network))(step, known, raw, level), trained, atol=0.05)


def test_numbers_at_their_limits_stay_exact() -> None:
    # As many channels as are allowed, weights and activations as large as they get: every layer ends at the clamp.
    config = dataclasses.replace(CONFIG, latent_channels=910, context_width=2)
    tensors = quantise(Context(config))
    generator = np.random.default_rng(2)
    for name, value in tensors.items():
        if name.startswith("steps.0."):
            limit = torch.iinfo(value.dtype) if value.dtype == torch.int16 else torch.iinfo(torch.int32)
            signs = torch.from_numpy(generator.random(tuple(value.shape)) < 0.5)
            tensors[name] = torch.where(signs, limit.min, limit.max).to(value.dtype)
    known, raw = generator.choice([-256.0, 256.0], (910, 2, 2)), generator.choice([-256.0, 256.0], (1820, 2, 2))
    found = ExactContext(tensors)(1, known, raw, 1)
    assert np.abs(found).max() == 256
    np.testing.assert_array_equal(found, in_integers(tensors, "steps.0.", known, raw, 1))


def test_a_context_whose_sums_might_round_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layer 'steps\.0\.known' has 911 input channels: at most 910 stay exact"):
        quantise(Context(dataclasses.replace(CONFIG, latent_channels=911)))


def test_does_not_depend_on_the_number_of_threads(network: Context) -> None:
    exact, (known, raw) = ExactContext(quantise(network)), values(40, 50)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(exact(1, known, raw, 0))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


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


@pytest.mark.parametrize("step", range(STEPS))
def test_a_latent_says_nothing_of_those_before_it_and_beside_it(network: Context, step: int) -> None:
    torch.manual_seed(1)
    model = Hyperprior(CONFIG)
    model.context = network
    latents, hyper, levels = 3 * torch.randn(1, 6, 8, 8), torch.randn(1, 5, 2, 2).round(), torch.tensor([1])
    masks = torch.from_numpy(partition((6, 8, 8)))
    changed = torch.where(masks[step], latents + 2, latents)
    seen: list[Tensor] = []
    hook = network.register_forward_hook(lambda _, __, parameters: seen.append(parameters))
    with torch.no_grad():
        model.distribution(latents, hyper, levels)
        model.distribution(changed, hyper, levels)
    hook.remove()
    before, after = seen[: STEPS - 1], seen[STEPS - 1 :]
    for later, (one, other) in enumerate(zip(before, after, strict=True), start=1):
        # A whole step on: it has its say.
        assert torch.equal(one, other) == (later <= step), later


def test_coder_and_network_agree(trained: Path) -> None:
    codec = HyperpriorCodec(weights=str(trained / "model"), device="cpu")
    image = to_tensor(picture(256, 320))
    network = trainable_hyperprior(trained / "model" / "hyperprior", codec.model.config).eval()
    assert network.context is not None
    last = network.context.steps[-1].third
    assert bool(last.weight.any())
    seen: list[Tensor] = []
    network.context.register_forward_hook(lambda _, __, parameters: seen.append(parameters[0]))
    with torch.no_grad():
        latents, hyper = network.encode(image, torch.tensor([1]))
        network.distribution(latents, hyper.round(), torch.tensor([1]))
    found: list[tuple[np.ndarray, ...]] = []

    def symbols(mask: np.ndarray, mean: np.ndarray, index: np.ndarray) -> np.ndarray:
        found.append((mask, mean, index))
        return np.rint(latents[0].numpy()[mask] - mean).astype(np.int32)

    whole = hyper[0].round().int().numpy()
    codec.model.coder._in_steps(whole, 1, tuple(latents.shape[1:]), symbols)
    assert len(found) == STEPS
    for parameters, (mask, mean, index) in zip(seen, found[1:], strict=True):
        means, places = (part.numpy()[mask] for part in parameters.chunk(2))
        # But where a latent halfway between two whole numbers fell to another side.
        assert np.mean(np.abs(means - mean) < 0.05) > 0.99
        assert np.mean(np.abs(places.clip(0) - index) < 0.55) > 0.99


def test_a_stream_is_as_long_as_the_model_says(trained: Path) -> None:
    codec = HyperpriorCodec(weights=str(trained / "model"), device="cpu")
    data, coded = codec.code(picture(128, 128), 1)
    assert coded.bits / 8 <= len(data) <= 1.02 * coded.bits / 8 + 16


def test_what_is_known_makes_the_rest_cheaper() -> None:
    # Of neighbours that are alike in all channels the context learns one from another; nothing else tells of them.
    torch.manual_seed(0)
    context = Context(CONFIG)
    optimizer = torch.optim.Adam(context.parameters(), lr=0.01)
    model = Hyperprior(CONFIG)
    model.context = context
    levels, bits = torch.zeros(4, dtype=torch.long), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        flat = 4 * torch.randn(4, 6, 1, 1).expand(4, 6, 8, 8)
        hyper = torch.zeros(4, 5, 2, 2)
        cost = model.distribution(flat, hyper, levels).bits(generator).sum(dim=(1, 2, 3)).mean()
        optimizer.zero_grad()
        torch.autograd.backward(cost)
        optimizer.step()
        bits.append(float(cost.detach()))
    assert np.mean(bits[-10:]) < 0.6 * np.mean(bits[:10])


def test_a_context_is_added_and_kept(trained: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path / "plain").train(Budget(steps=3))
    start = tmp_path / "plain" / "model" / "hyperprior"
    begun = training_with_context(tmp_path / "added", start=start).task().model
    stored = load_hyperprior(start).network
    assert torch.equal(begun.analysis.head.weight, stored.analysis.head.weight)
    assert begun.context is not None
    # And kept by one that goes on from there.
    start = trained / "model" / "hyperprior"
    kept = training_with_context(tmp_path / "kept", start=start).task().model.context
    assert kept is not None
    before = load_packed(start / "model.safetensors")
    for name, value in quantise(kept).items():
        assert torch.equal(value, before[f"exact_context.{name}"]), name
    assert bool(kept.steps[-1].third.weight.any())
    with pytest.raises(TrainingError, match="another shape than the settings"):
        hyperprior_training(tmp_path / "lost", start=start).task()


def test_a_file_without_its_context_is_damaged(trained: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path).train(Budget(steps=1))
    folder = tmp_path / "model" / "hyperprior"
    config = (trained / "model" / "hyperprior" / "config.json").read_text()
    (folder / "config.json").write_text(config)
    with pytest.raises(CodecError, match="damaged"):
        load_hyperprior(folder)


def test_a_file_that_lacks_weights_is_no_start(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hyperprior"
    shutil.copytree(trained / "model" / "hyperprior", folder)
    tensors = load_packed(folder / "model.safetensors")
    del tensors["network.analysis.head.weight"]
    save_packed(tensors, folder / "model.safetensors")
    with pytest.raises(CodecError, match="damaged"):
        trainable_hyperprior(folder, dataclasses.replace(HYPERPRIOR.model, context_width=8))


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"context_width": -1}, "context_width is -1"), ({"sketch_blocks": 0}, "sketch_blocks is 0")],
)
def test_a_shape_that_cannot_be_is_refused(setting: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HyperpriorConfig(**setting)  # type: ignore[arg-type]
