import numpy as np
import pytest
import torch

from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.fixed_point import ExactHyperSynthesis, fill_from_integers, quantise
from rdcodecs.hyperprior.transforms import HyperSynthesis

CONFIG = HyperpriorConfig(levels=2, latent_channels=6, hyper_channels=5, hyper_width=7)


@pytest.fixture(scope="module")
def network() -> HyperSynthesis:
    torch.manual_seed(0)
    return HyperSynthesis(CONFIG)


def hyper(height: int = 3, width: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(-9, 10, (5, height, width)).astype(np.int32)


def in_integers(tensors: dict[str, torch.Tensor], values: np.ndarray, level: int) -> np.ndarray:
    """The same in Python's whole numbers, which know no rounding at all: activations in units of 2^-6."""
    features = [[[int(v) * 64 for v in row] for row in plane] for plane in values]

    def convolve(name: str, planes: list[list[list[int]]], extra: list[int] | None) -> list[list[list[int]]]:
        weight, bias = tensors[f"{name}.weight"].tolist(), tensors[f"{name}.bias"].tolist()
        height, width = len(planes[0]), len(planes[0][0])
        made = []
        for index, kernel in enumerate(weight):
            start = 64 * (bias[index] + (extra[index] if extra else 0))
            plane = [[start] * width for _ in range(height)]
            for y in range(height):
                for x in range(width):
                    for channel, taps in enumerate(kernel):
                        for dy in range(3):
                            for dx in range(3):
                                if 0 <= y + dy - 1 < height and 0 <= x + dx - 1 < width:
                                    plane[y][x] += taps[dy][dx] * planes[channel][y + dy - 1][x + dx - 1]
            # From units of 2^-18 to units of 2^-6, halves to the even one, as IEEE rounds.
            made.append([[max(-16384, min(16384, half_even(v, 4096))) for v in row] for row in plane])
        return made

    def doubled(planes: list[list[list[int]]]) -> list[list[list[int]]]:
        return [[[v for v in row for _ in (0, 1)] for row in plane for _ in (0, 1)] for plane in planes]

    def positive(planes: list[list[list[int]]]) -> list[list[list[int]]]:
        return [[[max(0, v) for v in row] for row in plane] for plane in planes]

    features = positive(convolve("first", features, tensors["level"][level].tolist()))
    features = positive(convolve("second", doubled(features), None))
    return np.array(convolve("third", doubled(features), None)) / 64


def half_even(value: int, unit: int) -> int:
    whole, rest = divmod(value, unit)
    return whole + (rest * 2 > unit or (rest * 2 == unit and whole % 2 == 1))


@pytest.mark.parametrize("level", [0, 1])
def test_equals_whole_numbers_to_the_bit(network: HyperSynthesis, level: int) -> None:
    tensors = quantise(network)
    np.testing.assert_array_equal(ExactHyperSynthesis(tensors)(hyper(), level), in_integers(tensors, hyper(), level))


def test_is_what_was_trained(network: HyperSynthesis) -> None:
    with torch.no_grad():
        trained = network(torch.from_numpy(hyper()).float()[None], torch.tensor([1]))[0].numpy()
    np.testing.assert_allclose(ExactHyperSynthesis(quantise(network))(hyper(), 1), trained, atol=0.05)


def test_does_not_depend_on_the_number_of_threads(network: HyperSynthesis) -> None:
    exact = ExactHyperSynthesis(quantise(network))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(exact(hyper(16, 24), 0))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_network_whose_sums_might_round_is_refused() -> None:
    with pytest.raises(ValueError, match="layer 'second' has 1000 input channels: at most 910 stay exact"):
        quantise(HyperSynthesis(HyperpriorConfig(levels=1, latent_channels=4, hyper_channels=4, hyper_width=1000)))


def test_a_training_goes_on_from_the_integers(network: HyperSynthesis) -> None:
    integers = quantise(network)
    again = HyperSynthesis(CONFIG)
    fill_from_integers(again, integers)
    assert quantise(again).keys() == integers.keys()
    for name, value in quantise(again).items():
        assert torch.equal(value, integers[name]), name
