"""Speed and memory of the diffusion prior at 512x512: the shipped weights, or the same shape with random ones."""

import resource
import subprocess
import sys

import pytest
import torch

from rdcodecs import MissingDependencyError
from rdcodecs.prior import Prior, load
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.settings import PRESETS
from rdtrain.prior.unet import make_unet, scheduler_config

SIZE = (512, 512)
KERNELS = {
    "convolution": ("convolution",),
    "attention and matrix products": ("attention", "addmm", "aten::mm", "aten::bmm", "mkldnn_linear"),
}
"""What does the arithmetic → parts of the names of PyTorch's operations."""


def tiny() -> Prior:
    """The shipped prior; where it is not installed, one of its shape."""
    try:
        return load("tiny", device="cpu")
    except MissingDependencyError:
        preset = PRESETS["tiny"]
        torch.manual_seed(0)
        return Prior(make_autoencoder(preset.autoencoder), make_unet(preset.unet), scheduler_config(preset.unet))


@pytest.fixture(scope="module")
def prior() -> Prior:
    return tiny()


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


def test_denoising_step(prior, benchmark) -> None:
    noise = prior.noise(SIZE, [0])
    assert benchmark(prior.denoise, noise, 500).shape == noise.shape


def test_vae_encode(prior, benchmark) -> None:
    image = torch.rand(1, 3, *SIZE) * 2 - 1
    assert benchmark(prior.encode, image).shape == (1, 4, 64, 64)


def test_vae_decode(prior, benchmark) -> None:
    latents = prior.noise(SIZE, [0])
    assert benchmark(prior.decode, latents).shape == (1, 3, *SIZE)


def test_ten_steps(prior, benchmark) -> None:
    noise = prior.noise(SIZE, [0])
    benchmark.pedantic(prior.sample, (noise, 10), rounds=2)


def test_where_the_time_goes(prior, record_property) -> None:
    """Share of the kernels that do the arithmetic, in a denoising step and in a decode."""
    noise = prior.noise(SIZE, [0])
    for name, work in (("step", lambda: prior.denoise(noise, 500)), ("decode", lambda: prior.decode(noise))):
        work()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            work()
        times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
        for kind, keys in KERNELS.items():
            share = sum(value for key, value in times.items() if any(part in key for part in keys)) / sum(
                times.values()
            )
            record_property(f"{name}: {kind}", share)
            print(f"{name}: {kind} {share:.0%}")
        rest = sorted(times.items(), key=lambda item: -item[1])[:6]
        print(", ".join(f"{key} {value / sum(times.values()):.0%}" for key, value in rest))


def test_memory_of_a_large_image(record_property) -> None:
    """Peak resident memory of a process that decodes 2048x2048 stays below 4 GB."""
    done = subprocess.run([sys.executable, __file__, "2048"], capture_output=True, text=True, check=True)
    gigabytes = float(done.stdout)
    record_property("peak_gb", gigabytes)
    print(f"decoding 2048x2048 peaks at {gigabytes:.2f} GB")
    assert gigabytes < 4


if __name__ == "__main__":
    side = int(sys.argv[1])
    with torch.inference_mode():
        large = tiny()
        large.decode(large.noise((side, side), [0]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
