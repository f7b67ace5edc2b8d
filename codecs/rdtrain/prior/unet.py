"""Train the U-Net on cached latents: the noise-prediction loss of a latent diffusion model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rdcodecs.codec import Image
from rdcodecs.optional import diffusers
from rdcodecs.prior.model import Prior
from rdtrain.core.data import Order, random_crops, step_generator
from rdtrain.core.precision import mixed_precision
from rdtrain.core.task import Learner
from rdtrain.prior.denoisers import EVALUATED_TIMESTEPS, noise_prediction_losses
from rdtrain.prior.latents import Latents
from rdtrain.prior.losses import min_snr_weight
from rdtrain.prior.samples import sample_sheet
from rdtrain.prior.settings import TrainConfig, UNetConfig

_EVALUATED = 64


def make_unet(config: UNetConfig) -> nn.Module:
    """Return an untrained `UNet2DConditionModel`, with attention at its lowest level only.

    It has the blocks of Stable Diffusion, so that one code path serves both; its text input is a single vector
    of zeros.
    """
    levels = len(config.block_out_channels)
    model: nn.Module = diffusers().UNet2DConditionModel(
        sample_size=config.crop,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        norm_num_groups=config.norm_groups,
        cross_attention_dim=config.cross_attention_dim,
        # By a misnomer of diffusers' this is the number of heads.
        attention_head_dim=tuple(max(1, width // config.head_channels) for width in config.block_out_channels),
    )
    return model


def scheduler_config(config: UNetConfig) -> dict[str, Any]:
    """Return the noise schedule as a configuration of diffusers' `DDIMScheduler`.

    It is Stable Diffusion's; with v-prediction its last level is moved to pure noise, from which sampling
    starts (Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed").
    """
    velocity = config.prediction_type == "v_prediction"
    scheduler = diffusers().DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type=config.prediction_type,
        rescale_betas_zero_snr=velocity,
        timestep_spacing="trailing",
    )
    return dict(scheduler.config)


class UNetTask(Learner[Any]):
    """The U-Net in training.

    Args:
        config: of the training.
        latents: of the images.
        autoencoder: that made them, to draw pictures.
        device: where to train.
        model: the U-Net to begin with.
        compiled: compile the network (worth it on a GPU).

    Attributes:
        encoder: SHA-256 of the encoder that the latents are from.
        average: the averaged U-Net.
    """

    name = "unet"

    def __init__(
        self,
        config: TrainConfig,
        latents: Latents,
        autoencoder: nn.Module,
        device: torch.device,
        model: nn.Module,
        *,
        compiled: bool = False,
    ) -> None:
        self._config = config.unet
        self._seed = config.seed
        self._device = device
        super().__init__(model, device, config, rate=config.unet.learning_rate, weight_decay=1e-3)
        # Drawn with the averaged weights, which this object shares.
        self.prior = Prior(autoencoder, self.average.model, scheduler_config(config.unet), name="in training")
        self._alphas = self.prior.alphas_cumprod.to(device)
        self._weights = min_snr_weight(self._alphas, config.unet.snr_gamma, config.unet.prediction_type)
        self._latents = latents
        self.encoder = latents.encoder
        batch = self._config.batch or (256 if device.type == "cuda" else 32)
        self._order = Order(len(latents.train), batch, config.seed)
        if compiled:
            self.model.compile()

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step."""
        generator = step_generator(self._seed, "unet", step, self._device)
        side = min(self._config.crop, *self._latents.train.shape[1:3])
        clean = random_crops(self._latents.train, self._order(step), side, generator, mirror=False)
        timesteps = torch.randint(len(self._alphas), (len(clean),), generator=generator, device=self._device)
        noise = torch.randn(clean.shape, generator=generator, device=self._device)
        alpha = self._alphas[timesteps].reshape(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        velocity = self._config.prediction_type == "v_prediction"
        wanted = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean if velocity else noise
        null = self.prior.null_embedding.expand(len(clean), -1, -1)
        with mixed_precision(self._device):
            output = self.model(noisy, timesteps, encoder_hidden_states=null).sample
        errors = (output.float() - wanted).square().mean(dim=(1, 2, 3))
        loss = (self._weights[timesteps] * errors).mean()
        return self.descend(loss, step, progress) | {"mse": errors.detach().mean()}

    def evaluate(self) -> dict[str, float]:
        """Return the noise-prediction loss on held-out latents at five noise levels, and its mean."""
        losses = noise_prediction_losses(self.prior, self._latents.held_out[:_EVALUATED])
        figures = {f"noise_loss_{t}": losses[t] for t in EVALUATED_TIMESTEPS}
        return figures | {"noise_loss": sum(losses.values()) / len(losses)}

    def picture(self) -> Image:
        """Return seeded samples, ten steps each."""
        side = self._latents.train.shape[1] * self.prior.stride
        return sample_sheet(self.prior, side, steps=(10,))
