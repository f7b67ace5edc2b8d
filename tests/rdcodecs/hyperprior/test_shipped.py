"""The weights that ship: streams made with them decode to the same numbers everywhere."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.config import STRIDE
from rdcodecs.shipped import TINY, TINY_MSE
from rdcodecs.stream import read_stream

HERE = Path(__file__).parent
STREAM = HERE / "astronaut-level-3-tiny-mse.rdb"
# To be made anew with the weights.
STORED = {
    TINY_MSE: (STREAM, "9ddade72628f0fd57bcd78d4082a11d763ca4b16dcf534b9b96781024cc20825"),
    TINY: (HERE / "astronaut-level-3-tiny.rdb", "5908e58104488a6409b4379d54e3a53389b84b5ab7ffe16f6a0a1a0bcfe293de"),
}


@pytest.fixture(scope="module")
def codec() -> HyperpriorCodec:
    return HyperpriorCodec(device="cpu")


@pytest.mark.parametrize("weights", STORED)
def test_a_stored_stream_decodes_to_the_same_latents_on_every_machine(weights: str) -> None:
    path, digest = STORED[weights]
    codec = HyperpriorCodec(weights=weights, device="cpu")
    assert codec.model.config.context_width
    stream = read_stream(path.read_bytes(), "hyperprior", codec.model.digest)
    size = -(-stream.height // STRIDE), -(-stream.width // STRIDE)
    latents = codec.model.coder.decode(stream.payload, stream.level, size)
    assert latents.dtype == np.float32
    assert hashlib.sha256(latents.astype("<f4").tobytes()).hexdigest() == digest


def test_its_picture_is_the_source(codec: HyperpriorCodec) -> None:
    image = astronaut()[:256, :256]
    decoded = codec.decode(STREAM.read_bytes())
    error = np.square(decoded.astype(float) - image).mean()
    assert 10 * np.log10(255**2 / error) > 20


def test_levels_are_ordered(codec: HyperpriorCodec) -> None:
    image = astronaut()[:256, :256]
    sizes = [len(codec.encode(image, level)) for level in range(codec.model.config.levels)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0]


def test_the_weights_are_small() -> None:
    folder = HyperpriorCodec()._folder / "hyperprior"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 14e6
