"""The hyper-synthesis in fixed point: the same to the bit on every machine.

Both sides of the codec must come to the same distribution of every latent, or the decoder reads nonsense. Floating
point does not give that: sums depend on their order, and the order on the processor, the number of threads and the
version of the library. (Ballé, Johnston, Minnen 2019, "Integer networks for data compression with latent-variable
models", trains with integers to the same end.)

Here all numbers are multiples of a power of two, held in float64. Weights are multiples of 2^-12 below 8 in magnitude,
activations multiples of 2^-6 up to 256. A product is a multiple of 2^-18, and a sum of up to 2^13 of them stays below
2^24: 42 bits, where float64 has 53. So no operation ever rounds, in whatever order it is done, but for the rounding
to the grid between layers, which is of exact numbers.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.hyperprior.transforms import HyperSynthesis

_WEIGHT = 2.0**12
_ACTIVATION = 2.0**6
_LARGEST = 256.0
_LAYERS = ("first", "second", "third")
_MOST_TERMS = 2**13


class ExactHyperSynthesis:
    """What `HyperSynthesis` computes, in fixed point.

    Args:
        tensors: integers as `quantise` returns them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._weights = {name: tensors[f"{name}.weight"].double() / _WEIGHT for name in _LAYERS}
        self._biases = {name: tensors[f"{name}.bias"].double() / _WEIGHT for name in _LAYERS}
        self._level = tensors["level"].double() / _WEIGHT

    def __call__(self, hyper: npt.NDArray[np.int32], level: int) -> npt.NDArray[np.float64]:
        """Return raw parameters, shape (2·M, 4·h, 4·w): multiples of 2^-6, no more than 256 in magnitude.

        Args:
            hyper: shape (C, h, w), no more than 256 in magnitude (what is larger is taken as 256).
            level: of the rate.
        """
        features = torch.from_numpy(hyper).double().clamp(-_LARGEST, _LARGEST)
        features = _to_grid(self._convolve("first", features) + self._level[level][:, None, None]).clamp(min=0)
        features = _to_grid(self._convolve("second", _doubled(features))).clamp(min=0)
        return _to_grid(self._convolve("third", _doubled(features))).numpy()

    def _convolve(self, name: str, features: Tensor) -> Tensor:
        weight = self._weights[name]
        _, height, width = features.shape
        # As a matrix product: a convolution may be computed by a transform, whose fractions are rounded.
        patches = functional.unfold(features[None], 3, padding=1)[0]
        made = weight.reshape(len(weight), -1) @ patches + self._biases[name][:, None]
        return made.reshape(-1, height, width)


def quantise(network: HyperSynthesis) -> dict[str, Tensor]:
    """Return a trained network's weights on the grid, as integers.

    Raises:
        ValueError: a layer has so many inputs that a sum might round.
    """
    tensors = {}
    for name in _LAYERS:
        layer: nn.Conv2d = getattr(network, name)
        most = _MOST_TERMS // 9
        if layer.in_channels > most:
            raise ValueError(f"the layer '{name}' has {layer.in_channels} input channels: at most {most} stay exact")
        # An int16 holds |w| < 8. A bias is one term more, however large: the sum has 11 bits to spare.
        tensors[f"{name}.weight"] = _integers(layer.weight, torch.int16)
        tensors[f"{name}.bias"] = _integers(layer.bias, torch.int32)  # type: ignore[arg-type]
    tensors["level"] = _integers(network.level.weight, torch.int32)
    return tensors


def fill_from_integers(network: HyperSynthesis, tensors: Mapping[str, Tensor]) -> None:
    """Give a network the weights that `quantise` returned, as a training that goes on from them needs."""
    values = {name: value.double() / _WEIGHT for name, value in tensors.items() if name != "level"}
    values["level.weight"] = tensors["level"].double() / _WEIGHT
    network.load_state_dict({name: value.float() for name, value in values.items()})


def _integers(values: Tensor, kind: torch.dtype) -> Tensor:
    limit = torch.iinfo(kind)
    return (values.detach().cpu().double() * _WEIGHT).round().clamp(limit.min, limit.max).to(kind)


def _to_grid(values: Tensor) -> Tensor:
    return ((values * _ACTIVATION).round() / _ACTIVATION).clamp(-_LARGEST, _LARGEST)


def _doubled(features: Tensor) -> Tensor:
    return features.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
