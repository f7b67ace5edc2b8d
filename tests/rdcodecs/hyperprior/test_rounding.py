import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.model import rounded
from rdcodecs.hyperprior.weights import load_hyperprior, trainable_hyperprior
from rdcodecs.pixels import to_tensor
from rdtrain.core.loop import Budget
from small_codecs import HYPERPRIOR, hyperprior_training, picture

OFFSET = 0.8
SHAPE = dataclasses.replace(HYPERPRIOR.model, rounding_offset=OFFSET)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> HyperpriorCodec:
    folder = tmp_path_factory.mktemp("rounding")
    hyperprior_training(folder, settings={"model": SHAPE}).train(Budget(steps=20))
    return HyperpriorCodec(weights=str(folder / "model"), device="cpu")


@pytest.mark.parametrize(("level", "offset"), [(0, OFFSET), (1, 0.5)])
def test_latents_are_rounded_as_the_offset_says(codec: HyperpriorCodec, level: int, offset: float) -> None:
    data, coded = codec.code(picture(64, 96), level)
    with torch.no_grad():
        latents, hyper = codec.model.network.encode(to_tensor(picture(64, 96)), torch.tensor([level]))
    means = codec.model.coder._in_steps(
        hyper[0].round().int().numpy(), level, tuple(latents.shape[1:]), lambda _, mean, __: np.zeros(len(mean), int)
    )
    residuals = latents[0].numpy() - means
    wanted = np.sign(residuals) * np.floor(np.abs(residuals) + offset)
    assert bool((wanted != np.rint(residuals)).any()) == (offset > 0.5)
    np.testing.assert_allclose(coded.latents - means, wanted, atol=1e-4)
    # The decoder need not know of it.
    decoded = codec.model.network.restore(torch.from_numpy(coded.latents)[None], torch.tensor([level]))[0]
    assert torch.equal(codec.read(data).latents, decoded)


def test_a_network_in_training_rounds_as_the_encoder_does(codec: HyperpriorCodec) -> None:
    image, network = to_tensor(picture(64, 96)), codec.model.network
    for level in (0, 1):
        levels = torch.tensor([level])
        with torch.no_grad():
            latents, hyper = network.encode(image, levels)
            distribution = network.distribution(latents, hyper.round(), levels)
        residuals = latents - distribution.means
        offset = (OFFSET, 0.5)[level]
        wanted = residuals.sign() * (residuals.abs() + offset).floor()
        assert torch.equal(distribution.symbols.round(), wanted)
        torch.testing.assert_close(distribution.decoded, wanted + distribution.means)


def test_coder_and_network_agree_where_what_is_decoded_tells_of_the_rest(tmp_path: Path) -> None:
    shape = dataclasses.replace(SHAPE, context_width=8)
    training = hyperprior_training(tmp_path, settings={"model": shape, "learning_rate": 0.003})
    training.train(Budget(steps=40))
    model = load_hyperprior(tmp_path / "model" / "hyperprior")
    network = trainable_hyperprior(model.folder, shape).eval()
    levels, image = torch.tensor([0]), to_tensor(picture(128, 160))
    with torch.no_grad():
        latents, hyper = network.encode(image, levels)
        expected = network.distribution(latents, hyper.round(), levels).decoded[0].numpy()
    coded = model.coder.rounded(latents[0].numpy(), hyper[0].numpy(), 0)
    # But where a latent at the edge of a bin fell to another side, and those that it tells of.
    assert np.mean(np.abs(coded - expected) < 0.1) > 0.99


def test_rounding_has_the_gradient_of_the_identity() -> None:
    values = torch.tensor([-1.3, -0.3, -0.1, 0.0, 0.1, 0.3, 1.3], requires_grad=True)
    made = rounded(values, 0.25)
    assert made.tolist() == [-2, -1, 0, 0, 0, 1, 2]
    made.sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == [1.0] * 7


def test_the_offset_falls_evenly_to_the_half() -> None:
    config = HyperpriorConfig(levels=5, rounding_offset=0.6)
    np.testing.assert_allclose(config.rounding_excess, [0.1, 0.075, 0.05, 0.025, 0])
    assert HyperpriorConfig(levels=1).rounding_excess == [0]
    # What has none keeps its digest.
    assert "rounding_offset" not in HyperpriorConfig().as_dict()
    assert config.as_dict()["rounding_offset"] == 0.6


@pytest.mark.parametrize("offset", [0.4, 1.0, float("nan")])
def test_an_offset_that_cannot_be_is_refused(offset: float) -> None:
    with pytest.raises(ValueError, match="rounding_offset is"):
        HyperpriorConfig(rounding_offset=offset)


def test_a_training_may_go_on_with_another(codec: HyperpriorCodec, tmp_path: Path) -> None:
    start = codec.model.folder
    begun = hyperprior_training(tmp_path, start=start).task().model
    assert begun.config.rounding_offset == 0.5
    assert torch.equal(begun.analysis.head.weight, codec.model.network.analysis.head.weight)
