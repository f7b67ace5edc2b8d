"""What of the fusion codec is trained in stage 2, and how."""

from dataclasses import dataclass, field

from rdcodecs.fusion.config import FusionConfig
from rdtrain.core.settings import CommonSettings
from rdtrain.prior.trajectory import PictureSettings


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


PRESETS: dict[str, FusionTrainConfig] = {
    "tiny": FusionTrainConfig(),
    # Learns nothing much, but goes through everything in seconds.
    "micro": FusionTrainConfig(
        shape=FusionConfig(width=8, wide=8, heads=2, head_channels=4), crop=64, batch=2, store=64, warmup=2
    ),
}
