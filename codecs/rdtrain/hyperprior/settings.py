"""What of the hyperprior is trained, and how."""

from dataclasses import dataclass, field

from rdcodecs.hyperprior.config import HyperpriorConfig
from rdtrain.core.settings import CommonSettings


@dataclass(frozen=True)
class SketchSettings:
    """How a training judges the sketches for a diffusion model, where the model draws some.

    Attributes:
        weight_low: of their distortion against bits per pixel, at the lowest level.
        weight_high: likewise at the highest; those between are in geometric progression.
        latent_weight: of the mean squared error of the sketch as a latent, in the distortion; the rest of it is the
            perceptual distance and the mean absolute error of the picture that the autoencoder decodes.
        pixel_weight: of that mean absolute error, on [-1, 1].
        ms_ssim_weight: of 1 - MS-SSIM of that picture, besides.
        images: of a batch, of which the picture is decoded (and enhanced, where an enhancer is named) and judged.
    """

    weight_low: float = 0.02
    weight_high: float = 1.5
    latent_weight: float = 0.3
    pixel_weight: float = 1.0
    ms_ssim_weight: float = 0.0
    images: int = 3


@dataclass(frozen=True)
class HyperpriorTrainConfig(CommonSettings):
    """What decides a training's outcome, but for data and budget; see `CommonSettings` too.

    Attributes:
        model: its shape.
        lambda_low: weight of the squared error (8-bit levels) against bits per pixel, at the lowest level.
        lambda_high: likewise at the highest; those between are in geometric progression.
        crop: side of the training crops in pixels; those that the entropy model is fitted to have the side `store`.
        learning_rate: peak; it follows a cosine to nothing, and another for the fit.
        batch: crops to a step; 0 picks 8 on a CPU and 64 on a GPU.
        fitted_from: share of the training after which only the entropy model learns: the bits of latents that are
            rounded, where noise stood in place of rounding before. After Guo et al. 2021, "Soft then hard: rethinking
            the quantization in neural image compression", which trains the decoder on, too. 0 to begin with that (from
            weights that are trained), 1 to leave it out; above 0.9 the average of the weights keeps little of it.
        coarse_weight: of the squared error of means over 16x16 pixels, beside that of pixels: colours of flat grounds.
        sketch: how sketches are judged, where the model draws some.
    """

    model: HyperpriorConfig = field(default_factory=HyperpriorConfig)
    lambda_low: float = 0.000012
    lambda_high: float = 0.008
    crop: int = 128
    learning_rate: float = 1e-3
    batch: int = 0
    fitted_from: float = 0.75
    coarse_weight: float = 0.0
    sketch: SketchSettings = field(default_factory=SketchSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.fitted_from <= 1:
            raise ValueError(f"fitted_from is {self.fitted_from}: a share of the training, from 0 to 1")

    @property
    def lambdas(self) -> list[float]:
        """Weight of the distortion at each level."""
        return _progression(self.lambda_low, self.lambda_high, self.model.levels)

    @property
    def sketch_weights(self) -> list[float]:
        """Weight of the sketch's distortion at each level."""
        return _progression(self.sketch.weight_low, self.sketch.weight_high, self.model.levels)


def _progression(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (place / max(1, count - 1)) for place in range(count)]


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
