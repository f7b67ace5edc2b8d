"""Train the autoencoder: L1, then a perceptual loss, then a patch-adversarial loss on the decoder alone."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from rdcodecs.codec import Image
from rdcodecs.optional import diffusers
from rdcodecs.pixels import to_images, to_tensor
from rdcodecs.prior.autoencoders import encoding_parts, last_weight, modes, moments, unscaled
from rdtrain.core.average import Average
from rdtrain.core.contact_sheet import grid
from rdtrain.core.data import Crops, Order, random_crops, step_generator
from rdtrain.core.errors import TrainingError
from rdtrain.core.muon import Muon
from rdtrain.core.optimization import schedule, update
from rdtrain.core.picture_distance import Perceptual, ms_ssim_loss
from rdtrain.core.precision import mixed_precision
from rdtrain.core.state import load_module, load_optimizer, module_tensors, optimizer_tensors
from rdtrain.prior.losses import (
    PatchDiscriminator,
    gaussian_divergence,
    gradient_balance,
    hinge_discriminator,
    hinge_generator,
)
from rdtrain.prior.settings import AutoencoderConfig, DeepShape, TrainConfig

_EVALUATED = 64
_SHOWN = 6


class Sketches(Protocol):
    """Gives the latents that a codec's decoder has of images."""

    @property
    def digest(self) -> str:
        """SHA-256 of what decides them."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return latents as the U-Net takes them, shape (N, C, h, w), of images (N, 3, H, W) in [-1, 1].

        They may be larger than the images' latents, and are cut then.
        """


def make_autoencoder(config: AutoencoderConfig) -> nn.Module:
    """Return an untrained autoencoder. There is no attention in it: it runs on images of any size.

    Raises:
        TrainingError: there is no such kind.
    """
    if config.kind == "AutoencoderDC":
        return _make_deep(config.deep)
    if config.kind != "AutoencoderKL":
        raise TrainingError(f"autoencoder.kind must be AutoencoderKL or AutoencoderDC, not '{config.kind}'")
    levels = len(config.block_out_channels)
    model: nn.Module = diffusers().AutoencoderKL(
        block_out_channels=config.block_out_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        latent_channels=4,
        sample_size=256,
        scaling_factor=1.0,
        force_upcast=False,
        mid_block_add_attention=False,
    )
    return model


def _make_deep(shape: DeepShape) -> nn.Module:
    # diffusers' class counts a level of the image's own size, which has no blocks here and so does not exist.
    encoder, decoder = ((widths[0], *widths) for widths in (shape.encoder_channels, shape.decoder_channels))
    model: nn.Module = diffusers().AutoencoderDC(
        latent_channels=4,
        encoder_block_out_channels=encoder,
        decoder_block_out_channels=decoder,
        encoder_layers_per_block=(0, *shape.encoder_blocks),
        decoder_layers_per_block=(0, *shape.decoder_blocks),
        encoder_qkv_multiscales=((),) * len(encoder),
        decoder_qkv_multiscales=((),) * len(decoder),
        # Without these the latent lies between two plain convolutions, which take its scale in: see `whitened`.
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
        scaling_factor=1.0,
    )
    return model


class AutoencoderTask:
    """The autoencoder in training.

    Args:
        config: of the training.
        crops: the images.
        device: where to train.
        model: the autoencoder to begin with.
        perceptual: the perceptual loss; without one that term is left out.
        sketches: latents as a codec hands them to the decoder, which then learns from these too; the encoder must be
            frozen.
        compiled: compile the networks (worth it on a GPU).
    """

    name = "vae"

    def __init__(
        self,
        config: TrainConfig,
        crops: Crops,
        device: torch.device,
        model: nn.Module,
        *,
        perceptual: Perceptual | None = None,
        sketches: Sketches | None = None,
        compiled: bool = False,
    ) -> None:
        self._config = config.autoencoder
        self._seed = config.seed
        self._warmup = config.warmup
        self._device = device
        self._perceptual = perceptual
        self._sketches = sketches
        # So that the weights depend on the seed alone, and the caller's generator is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            judge = PatchDiscriminator()
        self.model: Any = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self._judge = judge.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._encoding = nn.ModuleList([part for _, part in encoding_parts(self.model)])
        self.average: Average[Any] = Average(self.model, config.ema_gamma)
        self._optimizer = Muon(self.model.parameters(), weight_decay=1e-4)
        self._judge_optimizer = torch.optim.AdamW(self._judge.parameters(), betas=(0.5, 0.9))
        self._train = crops.train.to(device)
        self._held_out = crops.held_out[:_EVALUATED]
        batch = self._config.batch or (64 if device.type == "cuda" else 8)
        self._order = Order(len(self._train), batch, config.seed)
        self._encoder_frozen = False
        if compiled:
            self.model.encoder.compile()
            self.model.decoder.compile()

    def step(self, step: int, progress: float) -> Mapping[str, Tensor]:
        """Train for one step."""
        config = self._config
        adversarial = config.adversarial_weight > 0 and progress >= config.adversarial_from
        if (adversarial or config.freeze_encoder) and not self._encoder_frozen:
            self._freeze_encoder()
        generator = step_generator(self._seed, "vae", step, self._device)
        chosen = self._order(step)
        batch = random_crops(self._train, chosen, min(config.crop, self._train.shape[1]), generator)
        images = batch.float().div_(127.5).sub_(1)
        made, divergence = self._forward(images, generator)
        log = self._backward(images, made, divergence, progress, adversarial)
        rate = config.learning_rate * schedule(progress, step, self._warmup)
        log["gradient"] = update(self._optimizer, list(self.model.parameters()), rate)
        if adversarial:
            log["discriminator"] = self._train_judge(images, made.detach(), config.learning_rate / 2)
        self.average.update(step)
        log["rate"] = torch.tensor(rate)
        return log

    def _forward(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        with mixed_precision(self._device):
            mean, log_variance = self._posterior(images)
            noise = torch.randn(mean.shape, generator=generator, device=self._device)
            latents = mean + (0.5 * log_variance).exp() * noise
        if self._sketches is not None:
            # Outside mixed precision, since a codec draws them in single precision.
            chance = torch.rand(len(images), generator=generator, device=self._device)
            sketched = (chance < self._config.sketch_share).reshape(-1, 1, 1, 1)
            latents = torch.where(sketched, self._sketched(self._sketches(images, generator), latents), latents)
        with mixed_precision(self._device):
            made = self.model.decode(latents).sample
        return made.float(), gaussian_divergence(mean, log_variance)

    def _sketched(self, sketches: Tensor, latents: Tensor) -> Tensor:
        """Return sketches as the decoder takes them, cut to the size of latents."""
        return unscaled(sketches[..., : latents.shape[2], : latents.shape[3]], self.model)

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        given = moments(self.model, images).float()
        channels = self.model.config.latent_channels
        if given.shape[1] == 2 * channels:
            # The bounds are those of diffusers' posterior.
            return given[:, :channels], given[:, channels:].clamp(-30, 20)
        return given, torch.full_like(given, 2 * math.log(self._config.latent_noise))

    def _backward(
        self, images: Tensor, made: Tensor, divergence: Tensor, progress: float, adversarial: bool
    ) -> dict[str, Tensor]:
        config = self._config
        # Gradients are taken with respect to the picture first: the perceptual network is run backward once,
        # though the balance of the two gradients and the weights both need the result.
        picture = made.detach().requires_grad_()
        absolute = functional.l1_loss(picture, images)
        log = {"l1": absolute.detach(), "kl": divergence.detach()}
        loss = absolute
        if config.ms_ssim_weight:
            structure = ms_ssim_loss(picture, images).mean()
            loss = loss + config.ms_ssim_weight * structure
            log["ms_ssim_loss"] = structure.detach()
        if self._perceptual is not None and config.perceptual_weight and progress >= config.perceptual_from:
            seen = self._config.perceptual_images or len(images)
            distance = self._perceptual(picture[:seen], images[:seen]).mean()
            loss = loss + config.perceptual_weight * distance
            log["perceptual"] = distance.detach()
        (gradient,) = torch.autograd.grad(loss, picture)
        if adversarial:
            with mixed_precision(self._device):
                fooled = hinge_generator(self._judge(picture).float())
            (pull,) = torch.autograd.grad(fooled, picture)
            last = last_weight(self.model)
            ours, theirs = (torch.autograd.grad(made, last, side, retain_graph=True)[0] for side in (gradient, pull))
            gradient = gradient + config.adversarial_weight * gradient_balance(ours, theirs) * pull
            log["adversarial"] = fooled.detach()
        if divergence.requires_grad:
            torch.autograd.backward((made, config.kl_weight * divergence), (gradient, None))
        else:
            torch.autograd.backward(made, gradient)
        return log

    def _train_judge(self, images: Tensor, made: Tensor, rate: float) -> Tensor:
        with mixed_precision(self._device):
            real, false = self._judge(torch.cat([images, made])).float().chunk(2)
        loss = hinge_discriminator(real, false)
        loss.backward()  # type: ignore[no-untyped-call]
        update(self._judge_optimizer, list(self._judge.parameters()), rate)
        return loss.detach()

    def _freeze_encoder(self) -> None:
        """Fix the latents: from now on the decoder learns to draw what the averaged encoder gives."""
        averaged = self.average.model
        if not self._config.freeze_encoder:
            for name, part in encoding_parts(averaged):
                self.model.get_submodule(name).load_state_dict(part.state_dict())
        self._encoding.requires_grad_(False)
        self._encoder_frozen = True

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that decides how the training goes on."""
        return {
            **module_tensors("model", self.model),
            **module_tensors("average", self.average.model),
            **module_tensors("judge", self._judge),
            **optimizer_tensors("optimizer", self._optimizer),
            **optimizer_tensors("judge_optimizer", self._judge_optimizer),
            "encoder_frozen": torch.tensor(self._encoder_frozen),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set what `tensors` gave."""
        load_module("model", self.model, tensors)
        load_module("average", self.average.model, tensors)
        load_module("judge", self._judge, tensors)
        load_optimizer("optimizer", self._optimizer, tensors)
        load_optimizer("judge_optimizer", self._judge_optimizer, tensors)
        self._encoder_frozen = bool(tensors["encoder_frozen"])
        self._encoding.requires_grad_(not self._encoder_frozen)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Return PSNR, L1 and perceptual distance on held-out crops, and the spread of the latent channels.

        Of sketches, where there are some, likewise; their names begin with "sketch".
        """
        sums: dict[str, float] = {}
        latents = []
        for number, part in enumerate(torch.split(self._held_out, 16)):
            images = to_tensor(part.to(self._device))
            latent = modes(self.average.model, images)
            latents.append(latent)
            values = self._distances(latent, images)
            if self._sketches is not None:
                generator = step_generator(self._seed, "sketches", number, self._device)
                sketched = self._distances(self._sketched(self._sketches(images, generator), latent), images)
                values |= {f"sketch_{key}": value for key, value in sketched.items()}
            for key, value in values.items():
                sums[key] = sums.get(key, 0.0) + value
        deviation = torch.cat(latents).std(dim=(0, 2, 3))
        figures = {key: value / len(self._held_out) for key, value in sums.items()}
        return figures | {f"latent_std_{index}": float(value) for index, value in enumerate(deviation)}

    def _distances(self, latents: Tensor, images: Tensor) -> dict[str, float]:
        """Return sums over images."""
        made = self.average.model.decode(latents).sample.clamp(-1, 1)
        # Peak 2, since the range is [-1, 1].
        psnr = 10 * torch.log10(4 / (made - images).square().mean(dim=(1, 2, 3)))
        values = {"psnr": float(psnr.sum()), "l1": float((made - images).abs().mean(dim=(1, 2, 3)).sum())}
        if self._perceptual is not None:
            values["perceptual"] = float(self._perceptual(made, images).sum())
        return values

    @torch.no_grad()
    def picture(self) -> Image:
        """Return held-out images over their reconstructions."""
        originals = self._held_out[:_SHOWN]
        images = to_tensor(originals.to(self._device))
        made = self.average.model(images).sample
        return grid([originals.numpy(), to_images(made)])
