import torch

from rdcodecs.pixels import to_tensor
from rdtrain.prior.export import blended, export_autoencoder, whitened
from small_models import make_deep_vae, make_vae


def noise_images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (6, 64, 64, 3), generator=generator, dtype=torch.uint8)


def test_a_blend_lies_between() -> None:
    first, second = make_vae(), make_vae()
    with torch.no_grad():
        for weight in second.parameters():
            weight.add_(1)
    made = blended(second, first, 0.25)
    for name, value in made.state_dict().items():
        torch.testing.assert_close(value, first.state_dict()[name] + 0.75)
    for name, value in blended(second, first, 0).state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_whitening_is_exact(tmp_path) -> None:
    vae, images = make_vae(), noise_images()
    white = whitened(vae, images, batch=4)
    pixels = to_tensor(images)
    with torch.no_grad():
        before, after = vae.encode(pixels).latent_dist, white.encode(pixels).latent_dist
        mode = after.mode()
        torch.testing.assert_close(mode.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(mode.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
        # The same latents in other units: same reconstruction, same noise relative to the spread.
        torch.testing.assert_close(white.decode(mode).sample, vae.decode(before.mode()).sample, atol=1e-4, rtol=1e-4)
        spread = before.mode().std(dim=(0, 2, 3), keepdim=True)
        torch.testing.assert_close(after.std * spread, before.std, atol=1e-5, rtol=1e-3)
    assert white.config.scaling_factor == 1.0
    assert vae.config.scaling_factor == 0.18215
    export_autoencoder(white, tmp_path)
    reloaded = type(vae).from_pretrained(tmp_path / "vae", low_cpu_mem_usage=False)
    assert reloaded.config.scaling_factor == 1.0
    assert not list((tmp_path / "vae").glob("*.bin"))


def test_whitening_of_an_autoencoder_without_posterior(tmp_path) -> None:
    vae, images = make_deep_vae(), noise_images()
    white = whitened(vae, images, batch=4)
    pixels = to_tensor(images)
    with torch.no_grad():
        before, after = vae.encode(pixels).latent, white.encode(pixels).latent
        torch.testing.assert_close(after.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
        torch.testing.assert_close(after * before.std(dim=(0, 2, 3), keepdim=True), before, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(white.decode(after).sample, vae.decode(before).sample, atol=1e-4, rtol=1e-4)
    export_autoencoder(white, tmp_path)
    assert type(vae).from_pretrained(tmp_path / "vae", low_cpu_mem_usage=False).config.scaling_factor == 1.0
