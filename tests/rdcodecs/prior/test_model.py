from itertools import pairwise

import numpy as np
import pytest
import torch

from rdcodecs.pixels import to_images
from rdcodecs.prior import Prior, PriorError, edit_features
from rdtrain.prior.trajectory import predict_at_end
from small_models import make_unet, make_vae, scheduler_values


def make_prior(prediction_type: str = "epsilon", **vae: object) -> Prior:
    return Prior(make_vae(**vae), make_unet(), scheduler_values(prediction_type), name="small")


def an_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_latents_are_scaled_and_shifted_as_the_model_says() -> None:
    prior = make_prior(shift_factor=0.25)
    image = an_image(32, 48)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        raw = prior.vae.encode(pixels).latent_dist.mode()
        torch.testing.assert_close(prior.encode(image), (raw - 0.25) * 0.18215)
        torch.testing.assert_close(
            prior.decode((raw - 0.25) * 0.18215), prior.vae.decode(raw).sample, atol=1e-5, rtol=1e-4
        )


def test_the_posterior_is_drawn_from_as_diffusers_does() -> None:
    prior = make_prior()
    image = an_image(32, 32)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = prior.vae.encode(pixels).latent_dist.sample(torch.Generator().manual_seed(4)) * 0.18215
        drawn = prior.encode(image, torch.Generator().manual_seed(4))
    torch.testing.assert_close(drawn, wanted)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (31, 64), (40, 23)])
def test_images_of_any_size_come_back_in_their_size(size: tuple[int, int]) -> None:
    prior = make_prior()
    with torch.inference_mode():
        latents = prior.encode(an_image(*size))
        assert latents.shape[-2:] == prior.latent_size(size) == (-(-size[0] // 8), -(-size[1] // 8))
        assert to_images(prior.decode(latents, size)).shape == (1, *size, 3)
        assert prior.denoise(latents, 500).shape == latents.shape


def test_a_batch_is_its_images() -> None:
    prior = make_prior()
    images = np.stack([an_image(24, 40), an_image(25, 40)[1:]])
    with torch.inference_mode():
        together = prior.encode(images)
        apart = torch.cat([prior.encode(image) for image in images])
    torch.testing.assert_close(together, apart)


def test_autoencoder_tiny_works_too() -> None:
    from rdcodecs.optional import diffusers

    torch.manual_seed(0)
    vae = diffusers().AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    )
    prior = Prior(vae, make_unet(), scheduler_values("epsilon"))
    image = an_image(35, 50)
    with torch.inference_mode():
        latents = prior.encode(image)
        assert latents.shape == (1, 4, 5, 7)
        assert prior.decode(latents, (35, 50)).shape == (1, 3, 35, 50)


def cut_prior(tile: int, overlap: int, **vae: object) -> Prior:
    prior = make_prior(**vae)
    prior.tile, prior.overlap = tile, overlap
    return prior


def test_a_tiled_image_shows_no_seam() -> None:
    """Tiles differ from the whole by their normalisation: the difference must pass smoothly from tile to tile."""
    # A ramp, so that every tile has statistics of its own.
    latents = torch.linspace(-1, 1, 96).expand(1, 4, 8, 96)
    local = {"mid_block_add_attention": False}
    with torch.inference_mode():
        whole = make_prior(**local).decode(latents)
        tiled = cut_prior(256, 128, **local).decode(latents)
        bare = torch.cat([make_prior(**local).decode(part) for part in latents.split(32, dim=-1)], dim=-1)
    assert tiled.shape == whole.shape

    def roughness(image: torch.Tensor) -> float:
        """The largest step, from latent column to latent column, of the mean difference from the untiled image."""
        columns = (image - whole).mean(dim=(1, 2)).reshape(96, 8).mean(dim=1)
        # Away from the image's own border, whose pattern each normalisation scales differently.
        return float(columns[12:-12].diff().abs().max())

    assert roughness(tiled) < 0.2 * roughness(bare)


def test_tiled_latents_are_near_those_of_the_whole() -> None:
    image = np.kron(an_image(20, 32), np.ones((8, 8, 1), np.uint8))
    with torch.inference_mode():
        whole = make_prior().encode(image)
        tiled = cut_prior(96, 32).encode(image)
    assert tiled.shape == whole.shape == (1, 4, 20, 32)
    assert float((tiled - whole).abs().mean()) < 0.5 * float(whole.std())


def test_the_unet_can_be_tiled() -> None:
    prior = make_prior()
    latents = prior.noise((128, 256), [0])
    with torch.inference_mode():
        whole = prior.denoise(latents, 200)
        prior.unet_tile = 16
        tiled = prior.denoise(latents, 200)
    assert tiled.shape == whole.shape
    assert float((tiled - whole).abs().mean()) < 0.5 * float(whole.std())


def test_noise_depends_on_its_seed_alone() -> None:
    prior = make_prior()
    batch = prior.noise((20, 30), [7, 8])
    assert torch.equal(batch[1:], prior.noise((20, 30), [8]))
    assert not torch.equal(batch[0], batch[1])
    assert batch.shape == (2, 4, 3, 4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_an_output_splits_into_clean_latents_and_noise(prediction_type: str) -> None:
    prior = make_prior(prediction_type)
    clean, noise = prior.noise((32, 32), [1]), prior.noise((32, 32), [2])
    timestep = torch.tensor([640])
    alpha = prior.alphas_cumprod[640]
    noisy = prior.add_noise(clean, noise, timestep)
    torch.testing.assert_close(noisy, alpha.sqrt() * clean + (1 - alpha).sqrt() * noise)
    output = noise if prediction_type == "epsilon" else alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    got_clean, got_noise = prior.split(output, noisy, timestep)
    torch.testing.assert_close(got_clean, clean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(got_noise, noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_sampling_is_ddim(prediction_type: str, steps: int) -> None:
    """Against equation 12 of Song, Meng, Ermon 2021 with sigma 0, written out."""
    prior = make_prior(prediction_type)
    noise = prior.noise((64, 48), [3, 4])
    levels = prior.timesteps(steps)
    assert levels == [1000 - 1 - index * 1000 // steps for index in range(steps)]
    latents = noise.double()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    alphas = torch.cumprod(1 - betas, 0)
    with torch.inference_mode():
        for timestep in levels:
            alpha = alphas[timestep]
            # Stable Diffusion's schedule ends at the first level, not at no noise at all.
            after = alphas[max(timestep - 1000 // steps, 0)]
            output = prior.denoise(latents.float(), timestep).double()
            if prediction_type == "v_prediction":
                clean = alpha.sqrt() * latents - (1 - alpha).sqrt() * output
                drawn = alpha.sqrt() * output + (1 - alpha).sqrt() * latents
            else:
                drawn = output
                clean = (latents - (1 - alpha).sqrt() * drawn) / alpha.sqrt()
            latents = after.sqrt() * clean + (1 - after).sqrt() * drawn
    torch.testing.assert_close(prior.sample(noise, steps).double(), latents, atol=2e-3, rtol=2e-3)


def test_sampling_twice_gives_the_same_bits() -> None:
    first, second = (make_prior().sample(make_prior().noise((40, 40), [1, 2]), 5) for _ in range(2))
    assert torch.equal(first, second)


def test_sampling_can_start_from_an_image() -> None:
    prior = make_prior()
    clean, noise = prior.noise((32, 32), [1]), prior.noise((32, 32), [2])
    visited: list[int] = []
    near = prior.sample(noise, 10, start=clean, strength=0.2, on_step=lambda step, *_: visited.append(step))
    far = prior.sample(noise, 10, start=clean, strength=0.8)
    assert visited == [0, 1]
    assert float((near - clean).square().mean()) < float((far - clean).square().mean())
    assert torch.equal(prior.sample(noise, 10, start=clean, strength=0.0), clean)


def test_guidance_moves_away_from_the_null_embedding() -> None:
    prior = make_prior()
    noise = prior.noise((32, 32), [1])
    caption = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0)) * 5
    null = prior.null_embedding.expand(1, 3, 8)
    with torch.inference_mode():
        plain, steered = prior.denoise(noise, 999, null), prior.denoise(noise, 999, caption)
        output = plain + 4 * (steered - plain)
        clean, _ = prior.split(output, noise, 999)
    guided: list[torch.Tensor] = []
    prior._null = null
    prior.sample(noise, 1, embedding=caption, guidance=4.0, on_step=lambda _step, _latents, x: guided.append(x))
    torch.testing.assert_close(guided[0], clean, atol=1e-3, rtol=1e-3)


def test_edits_act_on_every_step() -> None:
    prior = make_prior()
    calls = []

    def edit(features: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return features * 2

    noise = prior.noise((32, 32), [1])
    before = prior.sample(noise, 3)
    with edit_features(prior.unet, {"mid": edit}):
        after = prior.sample(noise, 3)
    assert len(calls) == 3
    assert not torch.equal(before, after)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_wrong_number_of_steps_is_refused(steps: int) -> None:
    prior = make_prior()
    with pytest.raises(PriorError, match=f"must be from 1 to 1000, not {steps}"):
        prior.sample(prior.noise((16, 16), [0]), steps)


@pytest.mark.parametrize("steps", [1, 3, 7, 50, 333, 1000])
def test_any_number_of_steps_starts_at_the_noisiest_level(steps: int) -> None:
    levels = make_prior().timesteps(steps)
    assert len(levels) == steps
    assert levels[0] == 999
    assert levels == sorted(set(levels), reverse=True)
    assert levels[-1] >= 0


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_span_is_the_first_part_of_a_longer_way(prediction_type: str) -> None:
    prior = make_prior(prediction_type)
    noise = prior.noise((32, 32), [1])
    assert prior.timesteps(4, 0.4) == prior.timesteps(10)[:4]
    clean: list[torch.Tensor] = []
    prior.sample(noise, 10, on_step=lambda _step, _latents, x: clean.append(x))
    seen: list[int] = []
    made = prior.sample(noise, 4, span=0.4, on_step=lambda step, *_: seen.append(step))
    assert seen == [0, 1, 2, 3]
    torch.testing.assert_close(made, clean[3], atol=1e-4, rtol=1e-4)
    # Levels that no step of one length could visit.
    timesteps = prior.timesteps(20, 0.3)
    assert len({first - second for first, second in pairwise(timesteps)}) > 1
    with torch.no_grad():
        wanted = predict_at_end(prior, prior.denoise, noise, timesteps)
    torch.testing.assert_close(prior.sample(noise, 20, span=0.3), wanted, atol=1e-4, rtol=1e-4)


def test_a_span_has_room_for_as_many_steps_as_noise_levels() -> None:
    prior = make_prior()
    assert prior.timesteps(300, 0.3) == list(range(999, 699, -1))
    assert prior.timesteps(1, 0.0001) == [999]
    noise = prior.noise((16, 16), [0])
    with pytest.raises(PriorError, match=r"steps must be from 1 to 300 within a span of 0\.3, not 301"):
        prior.sample(noise, 301, span=0.3)
    for span in (0.0, -1.0, 1.1):
        with pytest.raises(PriorError, match="span must be above 0 and at most 1"):
            prior.sample(noise, 1, span=span)
    with pytest.raises(PriorError, match="its span must be 1"):
        prior.sample(noise, 2, start=noise, span=0.5)


def test_a_wrong_strength_is_refused() -> None:
    prior = make_prior()
    noise = prior.noise((16, 16), [0])
    with pytest.raises(PriorError, match=r"strength must be from 0 to 1, not 1\.5"):
        prior.sample(noise, 2, start=noise, strength=1.5)


def test_gradients_reach_the_latents_through_decoder_and_unet() -> None:
    prior = make_prior()
    latents = prior.noise((32, 32), [0]).requires_grad_()
    prior.decode(prior.split(prior.denoise(latents, 500), latents, 500)[0]).square().mean().backward()
    assert latents.grad is not None
    assert float(latents.grad.abs().sum()) > 0
