"""The diffusion model that ships: it loads by name and by plain diffusers, and does what its card says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.data import astronaut

from rdcodecs.pixels import to_images
from rdcodecs.prior import Prior, load
from rdcodecs.prior.folder import read_json
from rdcodecs.shipped import shipped_or_folder


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load("tiny", device="cpu")


@pytest.fixture(scope="module")
def folder() -> Path:
    return shipped_or_folder("tiny")


def test_plain_diffusers_loads_it(prior: Prior, folder: Path) -> None:
    from rdcodecs.optional import diffusers

    library = diffusers()
    index = read_json(folder / "model_index.json")
    vae = getattr(library, index["vae"][1]).from_pretrained(folder / "vae", low_cpu_mem_usage=False)
    unet = library.UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    scheduler = library.DDIMScheduler.from_pretrained(folder / "scheduler")
    assert scheduler.config.prediction_type == prior.prediction_type
    noise = prior.noise((64, 64), [0])
    with torch.no_grad():
        null = torch.zeros(1, 1, unet.config.cross_attention_dim)
        torch.testing.assert_close(unet(noise, 400, encoder_hidden_states=null).sample, prior.denoise(noise, 400))
        torch.testing.assert_close(vae.decode(noise).sample, prior.decode(noise))


def test_it_is_small_and_in_half_precision(folder: Path) -> None:
    files = [path for part in ("vae", "unet", "scheduler") for path in (folder / part).iterdir()]
    assert sum(path.stat().st_size for path in files) < 40e6
    for path in files:
        if path.suffix == ".safetensors":
            assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    assert {path.suffix for path in files} == {".safetensors", ".json"}


def test_its_round_trip_is_the_image(prior: Prior) -> None:
    image = astronaut()
    with torch.inference_mode():
        latents = prior.encode(image)
        made = to_images(prior.decode(latents, image.shape[:2]))[0]
    assert 10 * np.log10(255**2 / np.square(made.astype(float) - image).mean()) > 22
    assert all(0.5 < float(value) < 2 for value in latents.std(dim=(0, 2, 3)))


def test_its_unet_knows_noise_from_pictures(prior: Prior) -> None:
    with torch.inference_mode():
        clean = prior.encode(astronaut())
        noise = prior.noise((512, 512), [3])
        for timestep, most in ((100, 0.9), (500, 0.3), (900, 0.1)):
            noisy = prior.add_noise(clean, noise, timestep)
            found = prior.split(prior.denoise(noisy, timestep), noisy, timestep)[1]
            # A guess that does not look would be off by the noise's variance, 1.
            assert float((found - noise).square().mean()) < most
