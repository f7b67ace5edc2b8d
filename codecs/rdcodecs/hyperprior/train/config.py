"""What of the hyperprior is trained, and how."""

from dataclasses import dataclass, field

from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.training.settings import CommonSettings


@dataclass(frozen=True)
class HyperpriorTrainConfig(CommonSettings):
    """What decides a training's outcome, but for data and budget; see `CommonSettings` too.

    Attributes:
        model: its shape.
        lambda_low: weight of the squared error (8-bit levels) against bits a pixel, at the lowest level.
        lambda_high: likewise at the highest; those between are in geometric progression.
        crop: side of the training crops in pixels.
        learning_rate: peak; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 8 on a CPU and 64 on a GPU.
    """

    model: HyperpriorConfig = field(default_factory=HyperpriorConfig)
    lambda_low: float = 0.000012
    lambda_high: float = 0.008
    crop: int = 128
    learning_rate: float = 1e-3
    batch: int = 0

    @property
    def lambdas(self) -> list[float]:
        """Weight of the distortion at each level."""
        ratio = self.lambda_high / self.lambda_low
        last = max(1, self.model.levels - 1)
        return [self.lambda_low * ratio ** (level / last) for level in range(self.model.levels)]


PRESETS: dict[str, HyperpriorTrainConfig] = {
    "tiny": HyperpriorTrainConfig(),
    # Learns nothing much, but goes through everything in seconds.
    "micro": HyperpriorTrainConfig(
        model=HyperpriorConfig(
            levels=2, widths=(8, 8, 8), blocks=1, latent_channels=8, hyper_channels=4, hyper_width=8
        ),
        crop=64,
        batch=2,
        store=64,
        warmup=2,
    ),
}
