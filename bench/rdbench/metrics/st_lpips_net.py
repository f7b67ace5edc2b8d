"""The networks of shift-tolerant LPIPS in plain torch: a metric, and a training loss."""

import re
from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdbench.metrics.perceptual_net import PerceptualNet
from rdbench.metrics.st_lpips_weights import weights_file


class STLPIPSNet(PerceptualNet):
    """Shift-tolerant LPIPS (Ghildyal, Liu, ECCV 2022), trained and frozen; gradients reach the images.

    Args:
        backbone: "alex" or "vgg".

    Raises:
        ValueError: there is no such backbone.
        MetricUnavailableError: the weights are missing or damaged.
    """

    def __init__(self, backbone: str = "alex") -> None:
        if backbone not in _STAGES:
            raise ValueError(f"ST-LPIPS has no backbone '{backbone}': have {', '.join(_STAGES)}")
        state = torch.load(weights_file(backbone), map_location="cpu", weights_only=True)
        widths, stages = _STAGES[backbone]
        with torch.device("meta"):  # no values to initialise: all of them come from the file
            super().__init__(_Scaling(), _numbered(stages()), [nn.Conv2d(width, 1, 1, bias=False) for width in widths])
        self.load_state_dict({_our_name(name): value for name, value in state.items()}, assign=True)


class _Scaling(nn.Module):
    """From [-1, 1] to the mean and spread of ImageNet."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.empty(1, 3, 1, 1))
        self.register_buffer("scale", torch.empty(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.shift) / self.scale


class _BlurPool(nn.Module):
    """Halve the size: a 3x3 low-pass on every channel, every second sample.

    The reflected border is two pixels wide, one more than the filter needs, so the result is a pixel wider.
    """

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.empty(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(padded, self.filt, stride=2, groups=len(self.filt))


def _alex_stages() -> list[list[nn.Module]]:
    """AlexNet with stride 1 everywhere; a blur pool after the first convolution and after each maximum."""

    def shrink(channels: int) -> list[nn.Module]:
        return [nn.MaxPool2d(3, stride=1), _BlurPool(channels)]

    return [
        [nn.Conv2d(3, 64, 11, padding=2), _BlurPool(64), nn.ReLU(inplace=True)],
        [*shrink(64), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True)],
        [*shrink(192), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)],
        [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)],
        [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True)],
    ]


def _vgg_stages() -> list[list[nn.Module]]:
    """VGG16 with each pooling cut into a maximum at stride 1 and a blur pool."""
    stages: list[list[nn.Module]] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        stage: list[nn.Module] = [nn.MaxPool2d(2, stride=1), _BlurPool(channels)] if stages else []
        for _ in range(depth):
            stage += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        stages.append(stage)
    return stages


_STAGES = {
    "alex": ((64, 192, 384, 256, 256), _alex_stages),
    "vgg": ((64, 128, 256, 512, 512), _vgg_stages),
}


def _numbered(stages: Iterable[list[nn.Module]]) -> list[nn.Module]:
    """Join the layers of each stage; their numbers go on from stage to stage, as in the weights' names."""
    joined: list[nn.Module] = []
    first = 0
    for stage in stages:
        joined.append(nn.Sequential(OrderedDict((str(first + k), layer) for k, layer in enumerate(stage))))
        first += len(stage)
    return joined


def _our_name(name: str) -> str:
    """Return a parameter's name in `PerceptualNet` for its name in the file, where slices count from 1."""
    name = re.sub(r"^net\.slice(\d)\.", lambda match: f"stages.{int(match[1]) - 1}.", name)
    name = re.sub(r"^lin(\d)\.model\.1\.", r"heads.\1.", name)
    return name.replace("scaling_layer.", "scaling.", 1)
