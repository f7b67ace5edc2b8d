"""What of the fusion codec is trained in stage 2, and how."""

from dataclasses import dataclass, field

from rdcodecs.fusion.config import FusionConfig


@dataclass(frozen=True)
class FusionTrainConfig:
    """Everything that decides a training's outcome, but for data, budget and the frozen models.

    Attributes:
        shape: of adapter and fusion.
        crop: side of the training crops in pixels.
        learning_rate: peak; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 16 on a CPU and 128 on a GPU.
        snr_gamma: of min-SNR weighting; 0 weighs all noise levels alike, which leaves more to those where the
            picture is still to be decided, and so to the control.
        store: side of the crops that are kept in memory, in pixels.
        crops_per_image: at most so many crops of a large image are kept.
        held_out: share of the image files that is not trained on.
        seed: of weights, order, crops, levels and noise.
        ema_gamma: exponent of the average of the weights, as for the prior.
        warmup: steps over which the learning rate rises.
    """

    shape: FusionConfig = field(default_factory=FusionConfig)
    crop: int = 128
    learning_rate: float = 5e-4
    batch: int = 0
    snr_gamma: float = 0.0
    store: int = 256
    crops_per_image: int = 16
    held_out: float = 0.02
    seed: int = 0
    ema_gamma: float = 16.97
    warmup: int = 100


PRESETS: dict[str, FusionTrainConfig] = {
    "tiny": FusionTrainConfig(),
    # Learns nothing much, but goes through everything in seconds.
    "micro": FusionTrainConfig(
        shape=FusionConfig(width=8, wide=8, heads=2, head_channels=4), crop=64, batch=2, store=64, warmup=2
    ),
}
