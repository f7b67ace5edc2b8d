"""Speed and memory of the fusion codec at 512x512: the shipped weights, or the same shapes with random ones.

What is promised are ratios: a decode at ten steps against ten bare denoising steps and a decode of the autoencoder,
adapter and fusion against the U-Net, entropy coding against the whole.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage.data import astronaut

from rdcodecs import MissingDependencyError
from rdcodecs.fusion.codec import FusionCodec
from rdcodecs.fusion.config import FusionConfig
from rdcodecs.fusion.enhancer import enhance
from rdcodecs.fusion.sketch import Sketcher
from rdcodecs.fusion.weights import make_control, make_enhancer, save_control, save_enhancer
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.model import Hyperprior
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.prior import load
from rdcodecs.prior.features import edit_features
from rdtrain.fusion.settings import ENHANCER_PRESETS
from rdtrain.hyperprior.export import export_hyperprior
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.export import export_autoencoder, export_unet
from rdtrain.prior.settings import PRESETS
from rdtrain.prior.unet import make_unet, scheduler_config

SIZE = (512, 512)
LEVEL = 5


def codec() -> FusionCodec:
    """The shipped codec; where it is not installed, one of its shapes."""
    try:
        shipped = FusionCodec(device="cpu")
        shipped.check()
    except MissingDependencyError:
        return untrained(Path(tempfile.mkdtemp()))
    return shipped


def untrained(folder: Path) -> FusionCodec:
    preset = PRESETS["tiny"]
    torch.manual_seed(0)
    export_autoencoder(make_autoencoder(preset.autoencoder), folder)
    export_unet(make_unet(preset.unet), scheduler_config(preset.unet), folder)
    crops = torch.from_numpy(astronaut()[None, :256, :256].copy())
    export_hyperprior(Hyperprior(HyperpriorConfig()), crops, folder / "hyperprior")
    prior, hyperprior = load(folder, device="cpu"), load_hyperprior(folder / "hyperprior")
    save_control(folder / "fusion" / "attentive", make_control(FusionConfig(), prior, hyperprior), prior, hyperprior)
    enhancer = make_enhancer(ENHANCER_PRESETS["tiny"].shape, hyperprior.config)
    save_enhancer(folder / "fusion" / "enhancer", enhancer, prior, hyperprior)
    return FusionCodec(prior=str(folder), weights=str(folder), device="cpu")


@pytest.fixture(scope="module")
def fusion() -> FusionCodec:
    made = codec()
    made.check()
    return made


@pytest.fixture(scope="module")
def stream(fusion: FusionCodec) -> bytes:
    return fusion.encode(astronaut(), LEVEL)


def test_encode(fusion, benchmark) -> None:
    assert benchmark(fusion.encode, astronaut(), LEVEL)


def test_decode(fusion, stream, benchmark) -> None:
    assert benchmark.pedantic(fusion.decode, (stream,), rounds=3).shape == (*SIZE, 3)


def seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """Shortest of some rounds: what the machine's other work adds is not of interest."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)


def test_shares(fusion, stream, record_property) -> None:
    prior, hyperprior = fusion.prior, fusion.hyperprior.model
    stored = fusion.hyperprior.read(stream)
    levels = torch.tensor([LEVEL])
    with torch.inference_mode():
        noise = prior.noise(SIZE, [0])
        ten = seconds(lambda: prior.sample(noise, 10))
        picture = seconds(lambda: prior.decode(noise, SIZE))
        bare = seconds(lambda: prior.denoise(noise, 500))
        auxiliary = fusion.hyperprior.draw([stored])
        sketch = Sketcher(hyperprior, prior)(stored.latents[None], levels, SIZE, auxiliary)
        adapter = seconds(lambda: fusion.control.prepare(stored.latents[None], levels, (64, 64), sketch))
        prepared = fusion.control.prepare(stored.latents[None], levels, (64, 64), sketch)
        with edit_features(prior.unet, fusion.control.edits(prepared)):
            steered = seconds(lambda: prior.denoise(noise, 500))
        drawn = prior.decode(noise, SIZE).float()
        enhancement = seconds(lambda: enhance(fusion.enhancer, drawn, auxiliary, stored.latents[None], levels))
    whole = seconds(lambda: fusion.decode(stream))
    encode = seconds(lambda: fusion.encode(astronaut(), LEVEL))
    reading = seconds(lambda: hyperprior.coder.decode(stored.payload, LEVEL, (32, 32)))
    shares = {
        "decode / (ten bare steps + autoencoder)": whole / (ten + picture),
        "fusion / U-Net, each step": steered / bare - 1,
        "adapter / ten steps": adapter / ten,
        "enhancer / decode": enhancement / whole,
        "entropy decoding / (encode + decode)": reading / (whole + encode),
    }
    for name, value in shares.items():
        record_property(name, value)
        print(f"{name}: {value:.3f}")


def test_a_batch_is_faster(fusion, stream) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = seconds(lambda: [fusion.decode(stream, steps=5) for _ in range(4)], rounds=2)
        together = seconds(lambda: fusion.decode_batch([stream] * 4, steps=5), rounds=2)
    finally:
        torch.set_num_threads(before)
    print(f"four streams in a batch take {together / alone:.2f} of the time one by one")


def test_memory(record_property) -> None:
    """Peak resident memory of a process that encodes and decodes 512x512."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    record_property("peak_gb", float(done.stdout))
    print(f"encoding and decoding 512x512 peaks at {float(done.stdout):.2f} GB")


if __name__ == "__main__":
    made = codec()
    made.decode(made.encode(astronaut(), LEVEL))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
