"""Sketches by a decoder of their own, where the hyperprior was trained for the prior."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdcodecs import load_codec
from rdcodecs.digests import network_digest
from rdcodecs.fusion.sketch import Sketcher
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.prior import load
from rdcodecs.prior.autoencoders import last_weight
from rdtrain.core.loop import Budget
from rdtrain.fusion.settings import CONTROL_PRESETS
from small_codecs import fusion_training, hyperprior_training, picture

LEVELS = torch.tensor([0, 1])


@pytest.fixture(scope="module")
def sketched(small_prior: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights whose hyperprior draws sketches for `small_prior`, which the control takes."""
    out = tmp_path_factory.mktemp("sketched")
    hyperprior_training(out / "one", prior=small_prior).train(Budget(steps=3))
    settings = {"shape": dataclasses.replace(CONTROL_PRESETS["micro"].shape, sketch=True), "renormalized": 0.5}
    training = fusion_training(out / "two", out / "one" / "model", small_prior, settings=settings)
    training.train(Budget(steps=2))
    return out / "two" / "model"


def test_the_decoder_of_its_prior_draws_them(sketched: Path, small_prior: Path) -> None:
    prior, hyperprior = load(small_prior), load_hyperprior(sketched / "hyperprior")
    sketcher = Sketcher(hyperprior, prior)
    assert not sketcher.needs_picture
    latents = torch.randn(2, hyperprior.config.latent_channels, 2, 3)
    # The image was padded to whole samples of y: what lies beyond it is cut.
    size = (17, 40)
    with torch.inference_mode():
        made = sketcher(latents, LEVELS, size, None)
    assert made.shape == (2, prior.channels, *prior.latent_size(size))
    assert hyperprior.network.sketch is not None
    with torch.inference_mode():
        whole = hyperprior.network.sketch(latents, LEVELS)
    assert torch.equal(made, whole[..., : made.shape[2], : made.shape[3]])


def test_for_another_prior_the_picture_is_encoded(sketched: Path, small_prior: Path) -> None:
    prior, hyperprior = load(small_prior), load_hyperprior(sketched / "hyperprior")
    with torch.no_grad():
        next(prior.vae.parameters()).add_(0.01)
    sketcher = Sketcher(hyperprior, prior)
    assert sketcher.needs_picture
    latents, drawn = torch.zeros(2, hyperprior.config.latent_channels, 2, 2), torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(sketcher(latents, LEVELS, (32, 32), drawn), prior.encode(drawn))
        with pytest.raises(ValueError, match="a picture is needed"):
            sketcher(latents, LEVELS, (32, 32), None)


def test_another_decoder_of_the_same_latents_keeps_its_sketches(sketched: Path, small_prior: Path) -> None:
    prior, hyperprior = load(small_prior), load_hyperprior(sketched / "hyperprior")
    before = dataclasses.replace(hyperprior, sketch_prior=network_digest(prior.vae))
    assert not Sketcher(before, prior).needs_picture  # the name that such weights had before
    with torch.no_grad():
        last_weight(prior.vae).add_(0.01)
    assert not Sketcher(hyperprior, prior).needs_picture


@pytest.mark.parametrize("renormalize", ["off", "local"])
def test_the_codec_encodes_no_picture(
    sketched: Path, small_prior: Path, monkeypatch: pytest.MonkeyPatch, renormalize: str
) -> None:
    options = {"weights": str(sketched), "prior": str(small_prior), "renormalize": renormalize, "device": "cpu"}
    codec: Any = load_codec("fusion", **options)
    image = picture(50, 70)
    data = codec.encode(image, 1)
    monkeypatch.setattr(codec.prior, "encode", lambda *_: pytest.fail("the prior encodes in a decoder"))
    made = codec.decode(data, steps=2)
    assert made.shape == image.shape
    # What the sketch says reaches the picture.
    with torch.no_grad():
        codec.hyperprior.model.network.sketch.tail.bias.add_(1)
    assert not np.array_equal(made, codec.decode(data, steps=2))
