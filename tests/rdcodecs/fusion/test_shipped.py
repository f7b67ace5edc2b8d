"""The fusion codec as it ships."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from rdcodecs.fusion.codec import FusionCodec
from rdcodecs.fusion.config import KINDS

CROP = np.ascontiguousarray(astronaut()[:192, 128:320])
DECODE = """
import sys, pathlib, torch, numpy
torch.set_num_threads(int(sys.argv[2]))
from rdcodecs.fusion.codec import FusionCodec
numpy.save(sys.argv[3], FusionCodec(device="cpu").decode(pathlib.Path(sys.argv[1]).read_bytes(), steps=3))
"""


def psnr(made: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(made.astype(float) - CROP).mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_more_bits_make_a_better_picture(kind: str) -> None:
    codec = FusionCodec(fusion=kind, device="cpu")  # type: ignore[arg-type]
    streams = [codec.encode(CROP, level) for level in (0, 3, 7)]
    assert [len(data) for data in streams] == sorted(len(data) for data in streams)
    qualities = [psnr(codec.decode(data, steps=5)) for data in streams]
    assert qualities == sorted(qualities)
    assert qualities[-1] > 20


def test_another_process_with_another_number_of_threads_draws_the_same(tmp_path: Path) -> None:
    stream = tmp_path / "s.rdb"
    stream.write_bytes(FusionCodec(device="cpu").encode(CROP, 4))
    pictures = []
    for threads in (1, 2):
        out = tmp_path / f"{threads}.npy"
        subprocess.run([sys.executable, "-c", DECODE, stream, str(threads), out], check=True, timeout=100)
        pictures.append(np.load(out).astype(int))
    # What is coded is exact; the drawing is floating point, whose sums may be in another order.
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_the_weights_are_small() -> None:
    folders = [FusionCodec(fusion=kind)._folder for kind in KINDS]
    parts = [*folders, folders[0].parent / "enhancer", folders[0].parent.parent / "hyperprior"]
    assert sum(path.stat().st_size for folder in parts for path in folder.iterdir()) < 25e6


@pytest.mark.parametrize("level", [1, 6])
def test_the_enhancer_brings_pictures_nearer(level: int) -> None:
    usual, renormalized = FusionCodec(device="cpu"), FusionCodec(device="cpu", renormalize="local")
    data = usual.encode(CROP, level)
    assert psnr(usual.decode(data, steps=5)) > psnr(renormalized.decode(data, steps=5))


def test_the_prior_alone_does_not_know_the_picture() -> None:
    # Without the control's edits the same sampler draws something else: the stream is what steers it.
    codec = FusionCodec(device="cpu", renormalize="off")
    data = codec.encode(CROP, 5)
    with torch.inference_mode():
        prior = codec.prior
        free = prior.decode(prior.sample(prior.noise((192, 192), [0]), 5), (192, 192))
    unsteered = free[0].permute(1, 2, 0).add(1).mul(127.5).clamp(0, 255).numpy()
    assert psnr(codec.decode(data, steps=5)) > psnr(unsteered) + 5


def test_its_hyperprior_draws_the_sketch_for_its_prior() -> None:
    assert not FusionCodec(device="cpu")._sketcher.needs_picture
