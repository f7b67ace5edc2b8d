"""What of the fusion codec is trained in stages 2 and 3, and how."""

from dataclasses import dataclass, field

from rdcodecs.fusion.config import FusionConfig
from rdcodecs.fusion.enhancer import EnhancerConfig
from rdtrain.core.settings import CommonSettings
from rdtrain.prior.trajectory import PictureSettings

_SMALLEST_CROP = 48
"""Pixels: MS-SSIM has five scales."""


@dataclass(frozen=True)
class FusionTrainConfig(CommonSettings):
    """What decides a training's outcome, but for data, budget and the frozen models; see `CommonSettings` too.

    Attributes:
        shape: of adapter and fusion.
        crop: side of the training crops in pixels.
        learning_rate: peak; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 16 on a CPU and 128 on a GPU.
        snr_gamma: of min-SNR weighting; 0 weighs all noise levels alike, which leaves more to those where the
            picture is still to be decided, and so to the control.
        pictures: whether and how pictures are judged.
        renormalized: share of the judged pictures that local renormalization (and then the enhancer, where one is
            named) goes over first, as in the codec; the rest are judged without, which keeps the codec usable so.
    """

    shape: FusionConfig = field(default_factory=FusionConfig)
    crop: int = 128
    learning_rate: float = 1e-3
    batch: int = 0
    snr_gamma: float = 0.0
    pictures: PictureSettings = field(default_factory=PictureSettings)
    renormalized: float = 0.0
    warmup: int = 100


CONTROL_PRESETS: dict[str, FusionTrainConfig] = {
    "tiny": FusionTrainConfig(),
    # Learns nothing much, but goes through everything in seconds.
    "micro": FusionTrainConfig(
        shape=FusionConfig(width=8, wide=8, heads=2, head_channels=4), crop=64, batch=2, store=64, warmup=2
    ),
}


@dataclass(frozen=True)
class EnhancerTrainConfig(CommonSettings):
    """What decides a training's outcome, but for data, budget and the frozen models; see `CommonSettings` too.

    Attributes:
        shape: of the enhancer.
        crop: side of the training crops in pixels.
        learning_rate: peak; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 6 on a CPU and 64 on a GPU.
        steps: numbers of denoising steps, of which one is drawn for each step of the training.
        pixel_weight: of the mean absolute error, on [-1, 1].
        perceptual_weight: of the perceptual distance.
        ms_ssim_weight: of 1 - MS-SSIM.
    """

    shape: EnhancerConfig = field(default_factory=EnhancerConfig)
    crop: int = 128
    learning_rate: float = 1e-3
    batch: int = 0
    steps: tuple[int, ...] = (1, 5, 10)
    pixel_weight: float = 1.0
    perceptual_weight: float = 1.0
    ms_ssim_weight: float = 0.5
    warmup: int = 100

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"steps is {list(self.steps)}: numbers of denoising steps, one at least")
        for name, side in (("crop", self.crop), ("store", self.store)):
            if self.ms_ssim_weight and side < _SMALLEST_CROP:
                raise ValueError(f"{name} is {side}: at least {_SMALLEST_CROP}, or ms_ssim_weight must be 0")


ENHANCER_PRESETS: dict[str, EnhancerTrainConfig] = {
    "tiny": EnhancerTrainConfig(shape=EnhancerConfig(coarse=64)),
    # Learns nothing much, but goes through everything in seconds.
    "micro": EnhancerTrainConfig(
        shape=EnhancerConfig(fine=8, wide=8, blocks=1, coarse=8), crop=64, batch=2, steps=(1, 2), store=64, warmup=2
    ),
}
