"""The convolutions of VGG16, trained, in five stages: what DISTS and KID look with."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each stage; stage k sees the image halved k times."""

_DEPTHS = (2, 2, 3, 3, 3)


def vgg_stages(state: Mapping[str, Tensor], pool: Callable[[int], nn.Module]) -> nn.ModuleList:
    """Return VGG16 up to relu5_3, cut after each stage's last ReLU; frozen.

    Args:
        state: the convolutions by their names in torchvision, ``features.0.weight`` and so on.
        pool: makes what halves a stage's output, given its channels.
    """
    stages = nn.ModuleList()
    number, channels = 0, 3  # `number` counts the layers as torchvision does, so that the names agree
    for width, depth in zip(WIDTHS, _DEPTHS, strict=True):
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if len(stages):
            layers[str(number)] = pool(channels)
            number += 1
        for _ in range(depth):
            with torch.device("meta"):  # no values to initialise: all of them come from `state`
                convolution = nn.Conv2d(channels, width, 3, padding=1)
            names = {name: state[f"features.{number}.{name}"] for name in ("weight", "bias")}
            convolution.load_state_dict(names, assign=True)
            layers[str(number)] = convolution
            layers[str(number + 1)] = nn.ReLU(inplace=True)
            number, channels = number + 2, width
        stages.append(nn.Sequential(layers))
    stages.requires_grad_(False)
    return stages.eval()
