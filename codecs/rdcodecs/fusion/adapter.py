"""The latent adapter F: from the decoded latent to features at the resolutions of the prior's U-Net."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.fusion.config import FusionConfig
from rdcodecs.hyperprior.config import STRIDE
from rdcodecs.hyperprior.layers import Stage, upsampling


class Adapter(nn.Module):
    """Turns a decoded latent into a pyramid of features.

    It has nothing to do with the noise level, so that it runs once for all denoising steps.

    Args:
        config: its shape.
        channels: of the decoded latent.
        levels: rate levels of the hyperprior.
        strides: resolutions wanted, in samples of the prior's latent; powers of two.
        prior_stride: pixels to a sample of the prior's latent; at most the hyperprior's 16.
        prior_channels: of the prior's latent.
    """

    def __init__(
        self,
        config: FusionConfig,
        channels: int,
        levels: int,
        strides: Sequence[int],
        prior_stride: int,
        prior_channels: int,
    ) -> None:
        super().__init__()
        if STRIDE % prior_stride:
            raise ValueError(f"a prior of stride {prior_stride} cannot be steered: {STRIDE} must be a multiple of it")
        own = STRIDE // prior_stride
        self.strides = tuple(sorted(set(strides)))
        self.head = nn.Conv2d(channels, self.width(config, own), 3, padding=1)
        self.stages = nn.ModuleDict({str(own): Stage(self.width(config, own), config.blocks, levels)})
        self.sketch = nn.Conv2d(prior_channels, self.width(config, 1), 3, padding=1) if config.sketch else None
        self.resize = nn.ModuleDict()
        # From the resolution of the latent itself to finer and to coarser ones, each from the one before.
        self._own = own
        self._finer = [own >> step for step in range(1, own.bit_length()) if own >> step >= self.strides[0]]
        self._coarser = [own << step for step in range(1, 16) if own << step <= self.strides[-1]]
        for stride in self._finer:
            width = self.width(config, stride)
            self.resize[str(stride)] = upsampling(self.width(config, stride * 2), width)
            self.stages[str(stride)] = Stage(width, config.blocks, levels)
        for stride in self._coarser:
            before = self.width(config, stride // 2)
            self.resize[str(stride)] = nn.Conv2d(before, config.wide, 3, stride=2, padding=1)
            self.stages[str(stride)] = Stage(config.wide, config.blocks, levels)

    @staticmethod
    def width(config: FusionConfig, stride: int) -> int:
        """Return the channels of the features at a stride."""
        return config.width if stride == 1 else config.wide

    def forward(
        self, latents: Tensor, levels: Tensor, size: tuple[int, int], sketch: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Return features by stride: shape (N, width, ceil(h / stride), ceil(w / stride)).

        Args:
            latents: decoded, gain undone, shape (N, M, ceil(h·s / 16), ceil(w·s / 16)) for a prior of stride s.
            levels: shape (N,).
            size: (h, w) of the prior's latent.
            sketch: a latent of the prior, of `Sketcher`, shape (N, C, h, w).
        """
        pyramid = {self._own: self._stage(self._own, self.head(latents), levels, sketch)}
        for way in (self._finer, self._coarser):
            features = pyramid[self._own]
            for stride in way:
                features = self.resize[str(stride)](functional.leaky_relu(features, 0.1))
                # The image was padded to whole samples of the decoded latent.
                height, width = (-(-length // stride) for length in size)
                features = self._stage(stride, features[..., :height, :width], levels, sketch)
                pyramid[stride] = features
        return {stride: pyramid[stride] for stride in self.strides}

    def _stage(self, stride: int, features: Tensor, levels: Tensor, sketch: Tensor | None) -> Tensor:
        if self.sketch is not None and stride == 1:
            features = features + self.sketch(sketch)
        made: Tensor = self.stages[str(stride)](features, levels)
        return made
