"""What of the prior is trained, and how."""

from dataclasses import dataclass, field

from rdtrain.core.settings import CommonSettings


@dataclass(frozen=True)
class DeepShape:
    """Shape of an `AutoencoderDC` of stride 8. Its finest level, of half the image's size, is made by shuffling pixels.

    Four times each width must be a multiple of the next one.

    Attributes:
        encoder_channels: width of each level, from fine to coarse.
        encoder_blocks: residual blocks of each level.
        decoder_channels: likewise.
        decoder_blocks: likewise.
    """

    encoder_channels: tuple[int, ...] = (32, 64, 128)
    encoder_blocks: tuple[int, ...] = (1, 2, 2)
    decoder_channels: tuple[int, ...] = (48, 96, 192)
    decoder_blocks: tuple[int, ...] = (1, 3, 3)


@dataclass(frozen=True)
class AutoencoderConfig:
    """The autoencoder (a class of diffusers) and its training.

    Attributes:
        kind: "AutoencoderKL", or "AutoencoderDC", which has no posterior and is several times faster.
        block_out_channels: of an `AutoencoderKL`: width of each level; the stride is 2 to the power of their number
            less one.
        layers_per_block: likewise, residual blocks per level.
        norm_groups: likewise, of every group normalisation.
        deep: shape of an `AutoencoderDC`.
        latent_noise: of an `AutoencoderDC`: deviation of the noise that its decoder is trained with, in place of
            the posterior's.
        crop: side of the training crops in pixels.
        learning_rate: peak, at the reference batch that `batch` names; it follows a cosine to nothing.
        batch: crops to a step; 0 picks 8 on a CPU and 64 on a GPU.
        kl_weight: of the posterior's divergence, mean over latent samples.
        ms_ssim_weight: of 1 - MS-SSIM, from the start.
        perceptual_weight: of the perceptual distance.
        perceptual_images: of a batch, on which it is computed; 0 is all of them.
        perceptual_from: share of the training after which the perceptual loss acts.
        adversarial_weight: of the patch-adversarial loss, after its gradient has been scaled to that of the rest.
        adversarial_from: share of the training after which the adversarial loss acts and the encoder is frozen.
        freeze_encoder: leave the latents as they are from the beginning, e.g. to go on with a decoder alone.
        sketch_share: of the images whose decoder learns from a codec's sketch instead of the latent, where there are
            such sketches.
    """

    kind: str = "AutoencoderKL"
    block_out_channels: tuple[int, ...] = (32, 64, 128, 192)
    layers_per_block: int = 1
    norm_groups: int = 16
    deep: DeepShape = field(default_factory=DeepShape)
    latent_noise: float = 0.05
    crop: int = 128
    learning_rate: float = 2e-3
    batch: int = 0
    kl_weight: float = 1e-4
    ms_ssim_weight: float = 0.0
    perceptual_weight: float = 0.5
    perceptual_images: int = 0
    perceptual_from: float = 0.35
    adversarial_weight: float = 0.1
    adversarial_from: float = 0.7
    freeze_encoder: bool = False
    sketch_share: float = 0.5


@dataclass(frozen=True)
class UNetConfig:
    """The U-Net (diffusers' `UNet2DConditionModel`) and its training.

    Attributes:
        block_out_channels: width of each level; attention is at the last one only.
        layers_per_block: residual blocks per level.
        norm_groups: of every group normalisation.
        head_channels: width of an attention head.
        cross_attention_dim: width of the (null) embedding.
        prediction_type: "v_prediction" or "epsilon".
        crop: side of the training crops in latent samples.
        learning_rate: peak; it follows a cosine to nothing.
        batch: latents to a step; 0 picks 32 on a CPU and 256 on a GPU.
        snr_gamma: of min-SNR weighting (Hang et al. 2023).
    """

    block_out_channels: tuple[int, ...] = (128, 160, 192)
    layers_per_block: int = 1
    norm_groups: int = 16
    head_channels: int = 32
    cross_attention_dim: int = 32
    prediction_type: str = "v_prediction"
    crop: int = 32
    learning_rate: float = 1e-3
    batch: int = 0
    snr_gamma: float = 5.0


@dataclass(frozen=True)
class TrainConfig(CommonSettings):
    """What decides a training's outcome, but for data and budget; see `CommonSettings` too.

    Attributes:
        autoencoder: the first part.
        unet: the second part.
    """

    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)


PRESETS: dict[str, TrainConfig] = {
    "tiny": TrainConfig(),
    # For two CPU cores: two thirds of the parameters, a fifth of the time.
    "cpu": TrainConfig(
        autoencoder=AutoencoderConfig(
            kind="AutoencoderDC",
            learning_rate=2.5e-3,
            batch=4,
            perceptual_from=0.6,
            perceptual_images=2,
            adversarial_weight=0.0,
        ),
        unet=UNetConfig(block_out_channels=(48, 96, 192), crop=16, batch=16),
        warmup=30,
    ),
    # Learns nothing much, but goes through everything in seconds.
    "micro": TrainConfig(
        autoencoder=AutoencoderConfig(block_out_channels=(8, 8, 8, 8), norm_groups=4, crop=64, batch=2),
        unet=UNetConfig(
            block_out_channels=(8, 16), norm_groups=4, head_channels=8, cross_attention_dim=8, crop=8, batch=4
        ),
        store=64,
        warmup=2,
    ),
}
