"""The prior itself: images to latents and back, one denoising step, DDIM sampling."""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rdcodecs.optional import diffusers
from rdcodecs.pixels import pad_to_multiple, to_tensor
from rdcodecs.prior.autoencoders import moments, scaled, unscaled
from rdcodecs.prior.errors import PriorError
from rdcodecs.prior.features import Site, feature_sites
from rdcodecs.prior.text import TextEncoder
from rdcodecs.prior.tiling import tiled
from rdcodecs.reading import reason_of
from rdcodecs.settings import whole_number

_MOST_LEVELS = 100_000
"""Noise levels that a model may have been trained on; Stable Diffusion has 1,000."""

StepHook = Callable[[int, Tensor, Tensor], None]
"""Called after each DDIM step with the index of the step, the new latents and the prediction of clean latents."""


class Prior:
    """A latent diffusion model, frozen.

    Latents are those the U-Net works on, i.e. scaled (and shifted, where the model says so). The methods obey
    the caller's grad mode, except `sample`; no weight ever has a gradient.

    Args:
        vae: of diffusers, one of `rdcodecs.prior.autoencoders.KINDS`.
        unet: a `UNet2DConditionModel`.
        scheduler: configuration of any diffusers scheduler: betas and prediction type are taken from it.
        text: tokenizer and text encoder, where the model has them.
        name: for messages and fingerprints.

    Attributes:
        stride: pixels to a latent sample, along each axis.
        channels: of the latent.
        tile: largest side, in pixels, that goes through the autoencoder in one piece. A larger one bounds
            the memory: at 1024 a 64-channel float32 activation takes 256 MiB.
        overlap: smallest overlap of the autoencoder's tiles, in pixels.
        unet_tile: largest side of the U-Net's tiles in latent samples; `None`, the default, never cuts.

    Raises:
        PriorError: the parts do not belong together or are of a kind that is not supported.
    """

    def __init__(
        self,
        vae: Any,
        unet: Any,
        scheduler: Mapping[str, Any],
        *,
        text: TextEncoder | None = None,
        name: str = "",
    ) -> None:
        self.name = name
        self.vae = vae
        self.unet = unet
        self._text = text
        for network in (self.vae, self.unet):
            network.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        self._scheduler = {
            **scheduler,
            # Made for pixels in [-1, 1]: it would cut latents, which have no such range.
            "clip_sample": False,
            "thresholding": False,
            # From the noisiest level down, at any step count (Lin et al. 2024, "Common diffusion noise schedules
            # ... are flawed", section 3.3); Stable Diffusion's own "leading" starts at 501 of 999 with two steps.
            "timestep_spacing": "trailing",
        }
        self.prediction_type: str = self._scheduler.get("prediction_type", "epsilon")
        _check_parts(self.vae.config, self.unet.config, self.prediction_type, name)
        _check_scheduler(self._scheduler, name)
        self.stride: int = 2 ** (_levels(self.vae.config) - 1)
        self.channels: int = self.vae.config.latent_channels
        self.alphas_cumprod: Tensor = _checked_levels(self._new_scheduler, name)
        self.tile = 1024
        self.overlap = 192
        self.unet_tile: int | None = None
        self._null: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unet.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.unet.parameters()).dtype  # type: ignore[no-any-return]

    @property
    def train_steps(self) -> int:
        """Number of noise levels that the model was trained on."""
        return len(self.alphas_cumprod)

    def most_steps(self, span: float = 1.0) -> int:
        """Return the largest number of denoising steps that a span of the noise levels has room for."""
        return max(1, round(self.train_steps * span))

    @property
    def sites(self) -> dict[str, Site]:
        """The places of the U-Net whose features can be reached, by name."""
        return feature_sites(self.unet)

    def twin(self) -> "Prior":
        """Return a prior with the same weights in memory, but features of its own to hook: for another thread."""
        shared = {id(tensor): tensor for tensor in (*self.unet.parameters(), *self.unet.buffers())}
        other = copy.copy(self)
        other.unet = copy.deepcopy(self.unet, shared)
        return other

    def fingerprint(self) -> str:
        """Return a SHA-256 of every weight and of the configuration, as hex digits."""
        digest = hashlib.sha256(repr(sorted(self._scheduler.items(), key=str)).encode())
        for part in (self.vae, self.unet):
            for key, value in sorted(part.state_dict().items()):
                digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        digest.update(self.null_embedding.cpu().float().numpy().tobytes())
        return digest.hexdigest()

    # Images and latents

    def latent_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the latent of an image of this (height, width)."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    def encode(self, images: npt.NDArray[np.uint8] | Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the latents of a batch of images of any one size.

        Args:
            images: uint8 (H, W, 3) or (N, H, W, 3), or a tensor (N, 3, H, W) in [-1, 1].
            generator: draws from the posterior; without one its mode is taken.

        Returns:
            Shape (N, C, ceil(H / stride), ceil(W / stride)), scaled as the U-Net expects.
        """
        batch = pad_to_multiple(to_tensor(images).to(self.device, self.dtype), self.stride)

        parameters = tiled(
            partial(moments, self.vae), batch, tile=self._tile, overlap=self.overlap, scale=Fraction(1, self.stride)
        )
        mean = parameters[:, : self.channels]
        if generator is not None and parameters.shape[1] == 2 * self.channels:
            # Mean and log variance: Kingma and Welling 2014; the bounds are those of diffusers' posterior.
            deviation = (0.5 * parameters[:, self.channels :].clamp(-30, 20)).exp()
            noise = torch.randn(mean.shape, generator=generator, device=generator.device)
            mean = mean + deviation * noise.to(mean)
        return scaled(mean, self.vae).to(self.dtype)

    def decode(self, latents: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return the images of a batch of latents.

        Args:
            latents: shape (N, C, h, w), scaled.
            size: (height, width) to crop to, e.g. that of the image before `encode` padded it.

        Returns:
            Shape (N, 3, H, W), about [-1, 1], not clipped; `pixels.to_images` makes 8-bit images of it.
        """
        raw = unscaled(latents.to(self.device, self.dtype), self.vae)
        step = self.stride
        images = tiled(
            lambda tile: self.vae.decode(tile).sample,
            raw.contiguous(memory_format=torch.channels_last),
            tile=self._tile // step,
            overlap=max(1, self.overlap // step),
            scale=Fraction(step),
        )
        return images if size is None else images[..., : size[0], : size[1]]

    # Conditioning

    @property
    def null_embedding(self) -> Tensor:
        """What stands for "no text": the empty caption's embedding, or zeros of shape (1, 1, D)."""
        if self._null is None:
            if self._text is not None:
                self._null = self.embed([""])
            else:
                width = self.unet.config.cross_attention_dim
                self._null = torch.zeros(1, 1, width, device=self.device, dtype=self.dtype)
        return self._null

    @property
    def reads_text(self) -> bool:
        """Whether the model has a text encoder, and so can be steered by captions."""
        return self._text is not None

    def embed(self, captions: Sequence[str]) -> Tensor:
        """Return text embeddings, shape (N, tokens, D).

        Raises:
            PriorError: the model has no text encoder.
        """
        if self._text is None:
            raise PriorError(f"the model '{self.name}' has no text encoder: it is not steered by captions")
        with torch.no_grad():
            return self._text(captions).to(self.device, self.dtype)

    # Diffusion

    def denoise(self, latents: Tensor, timestep: int | Tensor, embedding: Tensor | None = None) -> Tensor:
        """Run the U-Net once.

        Args:
            latents: noisy, shape (N, C, h, w).
            timestep: 0 to `train_steps` - 1, one for all or shape (N,).
            embedding: shape (N or 1, tokens, D); `null_embedding` where not given.

        Returns:
            What the model predicts (`prediction_type`), same shape.
        """
        condition = self.null_embedding if embedding is None else embedding
        condition = condition.expand(latents.shape[0], -1, -1)

        def run(part: Tensor) -> Tensor:
            output: Tensor = self.unet(part, timestep, encoder_hidden_states=condition).sample
            return output

        if self.unet_tile is None:
            return run(latents)
        overlap = max(1, self.unet_tile // 4)
        whole = tiled(run, latents, tile=self.unet_tile, overlap=overlap, scale=Fraction(1))
        return whole.to(latents.dtype)

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: int | Tensor) -> Tensor:
        """Return sqrt(a)·latents + sqrt(1 - a)·noise, a the cumulative product at `timestep` (DDPM eq. 4)."""
        signal, sigma = self._levels_at(timestep, latents)
        return signal * latents + sigma * noise

    def split(self, output: Tensor, latents: Tensor, timestep: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return the clean latents and the noise that the U-Net's output stands for.

        Args:
            output: of `denoise`.
            latents: the noisy latents that it was given.
            timestep: likewise.
        """
        signal, sigma = self._levels_at(timestep, latents)
        if self.prediction_type == "v_prediction":
            # Salimans and Ho 2022, appendix D: v = signal·noise - sigma·clean.
            return signal * latents - sigma * output, signal * output + sigma * latents
        return (latents - sigma * output) / signal, output

    def noise(self, size: tuple[int, int], seeds: Sequence[int]) -> Tensor:
        """Return seeded standard normal latents, one to a seed.

        Each is drawn on the CPU from its own generator: it depends neither on the device nor on its batch.

        Args:
            size: (height, width) of the image in pixels.
            seeds: one for every image of the batch.

        Returns:
            Shape (N, C, ceil(H / stride), ceil(W / stride)).
        """
        shape = (self.channels, *self.latent_size(size))
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(drawn).to(self.device, self.dtype)

    def timesteps(self, steps: int, span: float = 1.0) -> list[int]:
        """Return the noise levels that DDIM visits in this many steps, in falling order.

        Args:
            steps: their number.
            span: share of all noise levels over which they are spread, from pure noise down.

        Raises:
            PriorError: `steps` or `span` is out of range.
        """
        return [int(t) for t in self._scheduler_for(steps, span).timesteps[:steps]]

    @torch.inference_mode()
    def sample(
        self,
        noise: Tensor,
        steps: int = 10,
        *,
        start: Tensor | None = None,
        strength: float = 1.0,
        span: float = 1.0,
        embedding: Tensor | None = None,
        guidance: float = 1.0,
        on_step: StepHook | None = None,
    ) -> Tensor:
        """Sample latents with DDIM (Song, Meng, Ermon 2021, eta = 0).

        Over all noise levels the steps are those of diffusers' `DDIMScheduler`; within a span they go from each of its
        levels to the next.

        Args:
            noise: standard normal, shape (N, C, h, w), e.g. from `noise`.
            steps: number of denoising steps for the whole range of noise levels, or for the span.
            start: clean latents to begin from, noised to the level that `strength` says; same shape.
            strength: the share of the steps, 0 to 1, that is run when there is a `start`.
            span: share of all noise levels, above 0 to 1, that is walked from pure noise down; below 1 the clean
                latents that are predicted at the last of them are the result. With a `start` it must be 1.
            embedding: shape (N or 1, tokens, D); `null_embedding` where not given.
            guidance: scale of classifier-free guidance (Ho and Salimans 2022); 1 is without, and costs half.
            on_step: called after every step.

        Returns:
            Clean latents, same shape.

        Raises:
            PriorError: `steps`, `strength` or `span` is out of range.
        """
        if not 0 <= strength <= 1:
            raise PriorError(f"the strength must be from 0 to 1, not {strength:g}")
        if start is not None and span != 1:
            raise PriorError("a sampling that has a start goes through all noise levels below it: its span must be 1")
        scheduler = self._scheduler_for(steps, span)
        latents = noise.to(self.device, self.dtype)
        timesteps = scheduler.timesteps[:steps]
        if start is not None:
            timesteps = timesteps[steps - min(steps, round(steps * strength)) :]
            if not len(timesteps):
                return start
            latents = self.add_noise(start.to(latents), latents, int(timesteps[0]))
        for index, timestep in enumerate(timesteps):
            output = self._guided(latents, timestep, embedding, guidance)
            if span == 1:
                result = scheduler.step(output, timestep, latents)
                latents, clean = result.prev_sample.to(self.dtype), result.pred_original_sample
            else:
                # diffusers' step is of one length, by whole division: it would miss the next level of the span.
                clean, left = self.split(output, latents, timestep)
                latents = clean if index + 1 == steps else self.add_noise(clean, left, timesteps[index + 1])
            if on_step is not None:
                on_step(index, latents, clean)
        return latents

    def _guided(self, latents: Tensor, timestep: Tensor, embedding: Tensor | None, guidance: float) -> Tensor:
        if guidance == 1 or embedding is None:
            return self.denoise(latents, timestep, embedding)
        count = latents.shape[0]
        with_text = embedding.expand(count, -1, -1)
        both = torch.cat([self.null_embedding.expand(count, -1, -1), with_text])
        plain, steered = self.denoise(latents.repeat(2, 1, 1, 1), timestep, both).chunk(2)
        return plain + guidance * (steered - plain)

    def _new_scheduler(self) -> Any:
        return diffusers().DDIMScheduler.from_config(self._scheduler)

    def _scheduler_for(self, steps: int, span: float) -> Any:
        """Return a scheduler whose first `steps` levels are spread over the span."""
        if not 0 < span <= 1:
            raise PriorError(f"the span must be above 0 and at most 1, not {span:g}")
        most = self.most_steps(span)
        if not 1 <= steps <= most:
            within = "" if span == 1 else f" within a span of {span:g}"
            raise PriorError(f"the number of denoising steps must be from 1 to {most}{within}, not {steps}")
        # A new one each time: it keeps the step count in itself, and calls must not meet there.
        scheduler = self._new_scheduler()
        scheduler.set_timesteps(min(self.train_steps, round(steps / span)))
        return scheduler

    def _levels_at(self, timestep: int | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(timestep, device=self.alphas_cumprod.device)
        alpha = self.alphas_cumprod[index].reshape(-1, 1, 1, 1)
        return alpha.sqrt().to(like), (1 - alpha).sqrt().to(like)

    @property
    def _tile(self) -> int:
        return max(self.stride, self.tile // self.stride * self.stride)


def _levels(config: Any) -> int:
    widths = getattr(config, "block_out_channels", None) or config.encoder_block_out_channels
    return len(widths)


def _check_scheduler(values: Mapping[str, Any], name: str) -> None:
    """Raise `PriorError` where a scheduler's numbers are such that its levels could not be computed."""
    try:
        whole_number("num_train_timesteps", values.get("num_train_timesteps", 1000), 1, _MOST_LEVELS)
        trained = values.get("trained_betas")
        if trained is not None and (not isinstance(trained, list) or not 1 <= len(trained) <= _MOST_LEVELS):
            raise ValueError(f"trained_betas must be a list of 1 to {_MOST_LEVELS} numbers")
    except ValueError as error:
        raise PriorError(f"the scheduler_config.json of '{name}' cannot be used: {error}") from error


def _checked_levels(make: Callable[[], Any], name: str) -> Tensor:
    """Return the cumulative products of the scheduler that `make` returns, or raise `PriorError`."""
    try:
        levels: Tensor = make().alphas_cumprod
        if levels.ndim != 1 or not bool(((levels >= 0) & (levels <= 1)).all()):  # NaN fails too
            raise ValueError("its betas do not make noise levels")
    except Exception as error:  # odd values make the library raise nearly any type
        reason = reason_of(error)
        raise PriorError(f"the scheduler_config.json of '{name}' cannot be used: {reason}") from error
    return levels


def _check_parts(vae: Any, unet: Any, prediction_type: str, model: str) -> None:
    for name in ("scaling_factor", "shift_factor"):
        value = getattr(vae, name, None)
        if name == "shift_factor" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise PriorError(f"'{model}': the autoencoder's {name} is {str(value)[:40]}: it must be a number")
    if vae.scaling_factor == 0:
        raise PriorError(f"'{model}': the autoencoder's scaling_factor is 0")
    kinds: tuple[Literal["epsilon", "v_prediction"], ...] = ("epsilon", "v_prediction")
    if prediction_type not in kinds:
        raise PriorError(
            f"'{model}': prediction type '{str(prediction_type)[:40]}' is not supported: it must be "
            f"{' or '.join(kinds)}"
        )
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise PriorError(
            f"the U-Net takes {unet.in_channels} channels and the autoencoder's latent has {vae.latent_channels}: "
            "models for inpainting or upscaling are not supported"
        )
    if unet.addition_embed_type is not None or unet.class_embed_type is not None:
        raise PriorError("the U-Net wants more conditioning than text (SDXL, unCLIP): it is not supported")
