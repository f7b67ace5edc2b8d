"""What the kinds of autoencoders differ in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rdcodecs.pixels import to_tensor
from rdcodecs.prior import load
from rdcodecs.prior.autoencoders import (
    encoding_parts,
    last_weight,
    latent_space_digest,
    modes,
    moments,
    scaled,
    unscaled,
)
from rdtrain.core.data import Crops
from rdtrain.prior.export import export_autoencoder, export_unet
from rdtrain.prior.latents import make_latents
from small_models import make_deep_vae, make_unet, make_vae, scheduler_values

PIXELS = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_moments_are_mean_and_variance_or_the_latent_itself() -> None:
    with torch.no_grad():
        kl, deep = make_vae(), make_deep_vae()
        assert moments(kl, PIXELS).shape == (2, 8, 2, 3)
        torch.testing.assert_close(modes(kl, PIXELS), kl.encode(PIXELS).latent_dist.mode())
        assert moments(deep, PIXELS).shape == (2, 4, 2, 3)
        torch.testing.assert_close(modes(deep, PIXELS), deep.encode(PIXELS).latent)


def test_the_parts_that_make_latents() -> None:
    assert [name for name, _ in encoding_parts(make_vae())] == ["encoder", "quant_conv"]
    assert [name for name, _ in encoding_parts(make_deep_vae())] == ["encoder"]


def test_latents_are_scaled_and_shifted_everywhere_alike() -> None:
    vae = make_vae()
    vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    raw = torch.randn(2, 4, 2, 3)
    torch.testing.assert_close(scaled(raw, vae), (raw - 0.25) * 0.5)
    torch.testing.assert_close(unscaled(scaled(raw, vae), vae), raw)
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    latents = make_latents(vae, Crops(pixels, pixels, (2, 2), ""), torch.device("cpu")).held_out.permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(latents, scaled(modes(vae.eval(), to_tensor(pixels)), vae))


@pytest.mark.parametrize("make", [make_vae, make_deep_vae])
def test_a_latent_space_is_its_encoder_and_scale(make: Callable[[], torch.nn.Module]) -> None:
    vae = make()
    digest = latent_space_digest(vae)
    assert latent_space_digest(make().half()) == digest
    with torch.no_grad():
        last_weight(vae).add_(1)
    assert latent_space_digest(vae) == digest
    with torch.no_grad():
        next(vae.encoder.parameters()).add_(1)  # type: ignore[union-attr,operator]
    assert latent_space_digest(vae) != digest
    scaled = make()
    scaled.register_to_config(scaling_factor=0.5)  # type: ignore[operator]
    assert latent_space_digest(scaled) != digest


@pytest.mark.parametrize("vae", [make_vae(), make_deep_vae()], ids=["kl", "deep"])
def test_the_last_weight_is_that_of_the_pixels(vae: torch.nn.Module) -> None:
    made = vae.decode(torch.zeros(1, 4, 2, 3)).sample  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(made.sum(), last_weight(vae))
    names = [name for name, weight in vae.named_parameters() if weight is last_weight(vae)]
    assert names in (["decoder.conv_out.weight"], ["decoder.conv_out.conv.weight"])
    assert float(gradient.abs().sum()) > 0


def test_a_deep_autoencoder_is_loaded(tmp_path: Path) -> None:
    vae = make_deep_vae()
    export_autoencoder(vae, tmp_path)
    export_unet(make_unet(), scheduler_values("v_prediction"), tmp_path)
    prior = load(tmp_path, device="cpu")
    assert (prior.stride, prior.channels) == (8, 4)
    with torch.inference_mode():
        latents = prior.encode(PIXELS)
        assert latents.shape == (2, 4, 2, 3)
        assert prior.decode(latents, (13, 20)).shape == (2, 3, 13, 20)
