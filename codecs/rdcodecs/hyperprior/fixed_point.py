"""The hyper-synthesis and the context model in fixed point: the same to the bit on every machine.

Both sides of the codec must come to the same distribution of every latent, or the decoder reads nonsense. Floating
point does not give that: sums depend on their order, and the order on the processor, the number of threads and the
version of the library. (Ballé, Johnston, Minnen 2019, "Integer networks for data compression with latent-variable
models", trains with integers to the same end.)

Here all numbers are multiples of a power of two, held in float64. Weights are multiples of 2^-12 up to 8 in magnitude
(what is larger is cut to that), activations multiples of 2^-6 up to 256. A product is a multiple of 2^-18, and a sum of
up to 2^13 of them is at most 2^24: 43 bits, and 44 where two such sums and offsets are added; float64 has 53. So no
operation ever rounds, in whatever order it is done, but for the rounding to the grid between layers, which is of exact
numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.hyperprior.context import STEPS, Context
from rdcodecs.hyperprior.transforms import HyperSynthesis

_WEIGHT = 2.0**12
_ACTIVATION = 2.0**6
_LARGEST = 256.0
_MOST_TERMS = 2**13
# The name of a rate level's offsets in a network, and in a file.
_LEVEL, _STORED_LEVEL = "level.weight", "level"


class ExactHyperSynthesis:
    """What `HyperSynthesis` computes, in fixed point.

    Args:
        tensors: integers as `quantise` returns them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._layers = _Layers(tensors, "", ("first", "second", "third"))

    def __call__(self, hyper: npt.NDArray[np.int32], level: int) -> npt.NDArray[np.float64]:
        """Return raw parameters, shape (2·M, 4·h, 4·w): multiples of 2^-6, no more than 256 in magnitude.

        Args:
            hyper: shape (C, h, w), no more than 256 in magnitude (what is larger is taken as 256).
            level: of the rate.
        """
        layers = self._layers
        features = torch.from_numpy(hyper).double().clamp(-_LARGEST, _LARGEST)
        features = _to_grid(layers("first", features) + layers.level(level)).clamp(min=0)
        features = _to_grid(layers("second", _doubled(features))).clamp(min=0)
        return _to_grid(layers("third", _doubled(features))).numpy()


class ExactContext:
    """What `Context` computes, in fixed point.

    Args:
        tensors: integers as `quantise` returns them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        names = ("known", "given", "second", "third")
        self._steps = [_Layers(tensors, f"steps.{index}.", names) for index in range(STEPS - 1)]

    def __call__(
        self, step: int, known: npt.NDArray[np.float64], raw: npt.NDArray[np.float64], level: int
    ) -> npt.NDArray[np.float64]:
        """Return the parameters of one step's latents, shape (2·M, h, w): multiples of 2^-6, at most 256 in magnitude.

        Args:
            step: 1 to 3.
            known: latents of the steps before, zero where not yet decoded, multiples of 2^-6, shape (M, h, w); more
                than 256 in magnitude is taken as 256.
            raw: what `ExactHyperSynthesis` returned, shape (2·M, h, w).
            level: of the rate.
        """
        layers, given = self._steps[step - 1], torch.from_numpy(raw)
        seen = torch.from_numpy(known).clamp(-_LARGEST, _LARGEST)
        features = _to_grid(layers("known", seen) + layers("given", given) + layers.level(level)).clamp(min=0)
        features = _to_grid(layers("second", features)).clamp(min=0)
        return _to_grid(given + layers("third", features)).numpy()


class _Layers:
    """Convolutions in fixed point, of which one is given an offset by the rate level."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, names: Sequence[str]) -> None:
        self._weights = {name: tensors[f"{prefix}{name}.weight"].double() / _WEIGHT for name in names}
        self._biases = {name: tensors[f"{prefix}{name}.bias"].double() / _WEIGHT for name in names}
        self._level = tensors[f"{prefix}{_STORED_LEVEL}"].double() / _WEIGHT

    def level(self, level: int) -> Tensor:
        """Return the offsets of a rate level, shape (C, 1, 1)."""
        return self._level[level][:, None, None]

    def __call__(self, name: str, features: Tensor) -> Tensor:
        """Return a layer's output, not yet rounded, of features of shape (C, h, w)."""
        weight = self._weights[name]
        _, height, width = features.shape
        # As a matrix product: a convolution may be computed by a transform, whose fractions are rounded.
        side = weight.shape[-1]
        patches = features.flatten(1) if side == 1 else functional.unfold(features[None], side, padding=side // 2)[0]
        made = weight.reshape(len(weight), -1) @ patches + self._biases[name][:, None]
        return made.reshape(-1, height, width)


def quantise(network: HyperSynthesis | Context) -> dict[str, Tensor]:
    """Return a trained network's weights on the grid, as integers.

    Raises:
        ValueError: a layer has so many inputs that a sum might round.
    """
    tensors = {}
    for name, value in network.state_dict().items():
        kernel = value.dim() == 4
        if kernel and value[0].numel() > _MOST_TERMS:
            most = _MOST_TERMS // value[0, 0].numel()
            layer = name.removesuffix(".weight")
            raise ValueError(f"the layer '{layer}' has {value.shape[1]} input channels: at most {most} stay exact")
        # An int16 holds weights of -8 to 8. A bias is one term more, however large: the sum has 9 bits to spare.
        tensors[stored_name(name)] = _integers(value, torch.int16 if kernel else torch.int32)
    return tensors


def stored_name(name: str) -> str:
    """Return the name under which `quantise` returns a network's weight."""
    return name.replace(_LEVEL, _STORED_LEVEL)


def fill_from_integers(network: HyperSynthesis | Context, tensors: Mapping[str, Tensor]) -> None:
    """Give a network the weights that `quantise` returned, as a training that goes on from them needs."""
    names = {stored_name(name): name for name in network.state_dict()}
    network.load_state_dict({names[name]: (value.double() / _WEIGHT).float() for name, value in tensors.items()})


def _integers(values: Tensor, kind: torch.dtype) -> Tensor:
    limit = torch.iinfo(kind)
    return (values.detach().cpu().double() * _WEIGHT).round().clamp(limit.min, limit.max).to(kind)


def _to_grid(values: Tensor) -> Tensor:
    return ((values * _ACTIVATION).round() / _ACTIVATION).clamp(-_LARGEST, _LARGEST)


def _doubled(features: Tensor) -> Tensor:
    return features.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
