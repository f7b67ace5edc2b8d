"""What of PerCo is trained, and how."""

from dataclasses import dataclass, field

from rdcodecs.perco.config import HyperEncoderConfig
from rdtrain.core.settings import CommonSettings
from rdtrain.prior.trajectory import PictureSettings


@dataclass(frozen=True)
class PerCoTrainConfig(CommonSettings):
    """What decides a training's outcome, but for data, budget and the prior; see `CommonSettings` too.

    Attributes:
        grids: side of the grid of indices of a 512x512 image, at each rate point, from low to high rate.
        codebook_sizes: entries at each rate point.
        width: channels of the hyper-encoders.
        features: channels of what the U-Net is given.
        codebook_dim: of the codebooks' entries.
        crop: side of the training crops in latent samples.
        learning_rate: peak, of hyper-encoders and U-Net; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 16 on a CPU and 160 on a GPU.
        commitment: weight of the distance between features and their entries; the reference has none.
        codebook_decay: of the moving averages that entries follow.
        dead_share: an entry that is chosen less often than this share of the mean is placed anew.
        revive_until: share of the training after which entries are left where they are.
        pictures: whether and how pictures are judged.

    Raises:
        ValueError: grids and codebooks do not make rate points.
    """

    grids: tuple[int, ...] = (16, 32, 32, 64, 64)
    codebook_sizes: tuple[int, ...] = (256, 16, 256, 16, 256)
    width: int = 64
    features: int = 64
    codebook_dim: int = 16
    crop: int = 32
    learning_rate: float = 5e-4
    batch: int = 0
    commitment: float = 0.1
    codebook_decay: float = 0.98
    dead_share: float = 0.1
    revive_until: float = 0.8
    pictures: PictureSettings = field(default_factory=PictureSettings)

    def rate_points(self, in_channels: int) -> list[HyperEncoderConfig]:
        """Return the shapes of the hyper-encoders, for a latent of so many channels.

        Raises:
            ValueError: the settings do not make 1 to 16 rate points in the order of their rates.
        """
        if len(self.grids) != len(self.codebook_sizes) or not 1 <= len(self.grids) <= 16:
            raise ValueError("grids and codebook_sizes must have one number for each of 1 to 16 rate points")
        points = [
            HyperEncoderConfig(in_channels, self.width, self.features, self.codebook_dim, grid, size)
            for grid, size in zip(self.grids, self.codebook_sizes, strict=True)
        ]
        rates = [point.bits_per_pixel() for point in points]
        if rates != sorted(rates):
            raise ValueError(f"the rate points must go from low to high rate, not {rates}")
        return points


PRESETS: dict[str, PerCoTrainConfig] = {
    "tiny": PerCoTrainConfig(),
    # Learns nothing much, but goes through everything in seconds.
    "micro": PerCoTrainConfig(
        grids=(32, 64),
        codebook_sizes=(16, 8),
        width=8,
        features=8,
        codebook_dim=4,
        crop=8,
        batch=4,
        pictures=PictureSettings(images=1),
        store=64,
        warmup=2,
    ),
}
