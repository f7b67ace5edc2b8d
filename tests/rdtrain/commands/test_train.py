"""rdbench train prior, from the command line to a model that diffusers loads."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rdbench.errors import BenchError
from rdcodecs import CodecError, load_codec
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.prior import load
from rdcodecs.shipped import shipped_or_folder
from rdtrain.commands import train
from small_models import write_model
from small_training import smooth_images


def rdbench(*arguments: object, model: str = "prior") -> int:
    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    options = parser.parse_args(["train", model, *map(str, arguments)])
    status: int = options.execute(options)
    return status


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images")
    for name, read in smooth_images(6):
        Image.fromarray(read()).save(place / name)
    return place


def test_a_folder_of_images_becomes_a_model(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stlpips_pytorch")
    out = tmp_path / "out"
    budget = ("--preset", "micro", "--steps", 10, "--log-steps", 5, "--device", "cpu")
    assert rdbench("--data", folder, "--out", out, *budget) == 0
    said = capsys.readouterr().err
    assert "crops of 5 images to train on" in said
    assert "vae step 5 (50.0 %" in said
    assert " left)  l1 " in said
    assert f"model: {out / 'model'}" in said
    prior = load(out / "model", device="cpu")
    assert prior.decode(prior.sample(prior.noise((40, 24), [0]), 2), (40, 24)).shape == (1, 3, 40, 24)

    # Its card, with figures measured on images.
    large = tmp_path / "test images"
    large.mkdir()
    for name, read in smooth_images(2, side=176):
        Image.fromarray(read()).save(large / name)
    assert rdbench("--data", folder, "--evaluate", out / "model", "--images", large, "--device", "cpu") == 0
    card = (out / "model" / "README.md").read_text()
    assert "mean of 2 images at full size (000.png to 001.png)" in card
    assert "| timestep | model | constant | wiener |" in card
    assert (out / "model" / "samples.webp").stat().st_size > 1000

    # A finished training is over, and one in a folder is not overwritten.
    assert rdbench("--data", folder, "--out", out, "--steps", 10, "--resume", "--device", "cpu") == 0
    with pytest.raises(CodecError, match="holds a training already"):
        rdbench("--data", folder, "--out", out, *budget)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "huge"), "no preset 'huge': have tiny, cpu, micro"),
        (("--set", "seed"), "--set seed: write NAME=VALUE"),
        (("--set", "speed=3"), "no setting 'speed'"),
        (("--preset", "micro", "--init", "nowhere"), "no diffusion model 'nowhere'"),
        (("--preset", "micro", "--sketches", "tiny"), "--sketches is for a decoder alone: add --init"),
        (("--preset", "micro", "--init", "tiny", "--sketches", "tiny"), "--sketches is for a decoder alone"),
        (("--preset", "micro", "--init", "tiny", "--keep", "0.5"), "--keep is for a decoder alone"),
        (
            ("--preset", "cpu", "--init", "tiny", "--set", "autoencoder.freeze_encoder=true", "--keep", "2"),
            "--keep is a share from 0 to 1, not 2",
        ),
    ],
)
def test_wrong_options_are_said_in_one_line(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises((BenchError, CodecError), match=message) as error:
        rdbench("--data", folder, "--out", tmp_path / "out", *arguments, "--perceptual", "none", "--steps", 1)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("fusion", ("--stage", 1, "--init", "tiny"), "has another shape than the settings"),
        ("fusion", ("--stage", 2, "--init", "tiny"), "other shape|another shape"),
        ("fusion", ("--stage", 3, "--init", "tiny"), "another shape"),
        ("fusion", ("--stage", 3, "--hyperprior", "tiny"), "--hyperprior is for stage 2: leave it out of stage 3"),
        ("fusion", ("--stage", 3, "--fusion", "additive"), "--fusion is for stage 2: leave it out of stage 3"),
        ("fusion", ("--stage", 2, "--weights", "tiny"), "--weights is for stage 3: leave it out of stage 2"),
        ("fusion", ("--stage", 3, "--enhancer", "tiny"), "--enhancer is for stage 1 or 2: leave it out of stage 3"),
        ("fusion", ("--stage", 1, "--enhancer", "tiny"), "--enhancer changes sketches in stage 1: name their --prior"),
        (
            "fusion",
            ("--stage", 1, "--preset", "tiny", "--prior", "tiny", "--enhancer", "tiny"),
            "of its own hyperprior: begin with that, by --init",
        ),
        ("fusion", ("--stage", 2, "--enhancer", "tiny"), "set pictures.weight and renormalized above 0"),
        ("fusion", ("--stage", 3, "--set", "steps=[]"), "steps is .*: numbers of denoising steps, one at least"),
        ("fusion", ("--stage", 3, "--set", "crop=16"), "crop is 16: at least 48, or ms_ssim_weight must be 0"),
        ("fusion", ("--stage", 3, "--set", "store=32"), "store is 32: at least 48, or ms_ssim_weight must be 0"),
        ("fusion", ("--stage", 3, "--set", "shape.wide=0"), "wide is 0: it must be a whole number from 1"),
        ("fusion", ("--stage", 3, "--set", "shape.coarse=-1"), "coarse is -1: it must be a whole number from 0"),
        ("perco", ("--prior", "nowhere"), "no diffusion model 'nowhere'"),
    ],
)
def test_a_training_that_is_refused_leaves_no_settings_behind(
    folder: Path, tmp_path: Path, model: str, arguments: tuple[str, ...], message: str
) -> None:
    place = ("--data", folder, "--out", tmp_path / "out", "--preset", "micro", "--steps", 1, "--device", "cpu")
    with pytest.raises(CodecError, match=message):
        rdbench(*place, *arguments, model=model)
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_shipped_decoder_learns_from_the_shipped_sketches(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = ("--part", "vae", "--perceptual", "none", "--device", "cpu", "--steps", 1, "--log-steps", 1)
    alone = (*alone, "--preset", "cpu", "--set", "autoencoder.freeze_encoder=true", "--sketches", "tiny")
    assert rdbench("--data", folder, "--out", tmp_path / "out", "--init", "tiny", *alone) == 0
    record = json.loads((tmp_path / "out" / "model" / "training.json").read_text())["parts"]
    assert "sketch_psnr" in record[list(record)[-1]]["curve"][-1]
    # Kept whole, what it began with is what comes out.
    assert rdbench("--data", folder, "--out", tmp_path / "out", "--init", "tiny", *alone, "--export", "--keep", 1) == 0
    file = Path("vae") / "diffusion_pytorch_model.safetensors"
    torch.testing.assert_close(
        load_file(tmp_path / "out" / "model" / file), load_file(shipped_or_folder("tiny") / file), rtol=0, atol=0
    )
    other = write_model(tmp_path / "prior", text=False)
    with pytest.raises(CodecError, match="'tiny' draws no sketches for the latents of"):
        rdbench("--data", folder, "--out", tmp_path / "other", "--init", other, *alone)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no images in"):
        rdbench("--data", tmp_path, "--out", tmp_path / "out", "--steps", 1)


def test_all_stages_become_a_codec(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prior = write_model(tmp_path / "prior", text=False)
    shared = ("--data", folder, "--preset", "micro", "--steps", 2, "--log-steps", 1, "--device", "cpu")
    weights = tmp_path / "weights"
    assert rdbench("--stage", 1, "--out", weights, *shared, model="fusion") == 0
    assert "stage 1: finished" in capsys.readouterr().err
    card = (weights / "model" / "hyperprior" / "README.md").read_text()
    assert "2 steps in " in card
    assert "| step | seconds | bpp 0 | psnr 0 | bpp 1 | psnr 1 |" in card
    second = ("--stage", 2, "--prior", prior, "--hyperprior", weights / "model", "--fusion", "additive")
    out = tmp_path / "second"
    assert rdbench(*second, "--out", out, *shared, model="fusion") == 0
    assert "fusion step 2 (100.0 %" in capsys.readouterr().err
    assert "additive" in (out / "model" / "fusion" / "additive" / "README.md").read_text()
    third = ("--stage", 3, "--prior", prior, "--weights", out / "model", "--out", tmp_path / "third")
    assert rdbench(*third, *shared, model="fusion") == 0
    assert "stage 3: finished" in capsys.readouterr().err
    image = smooth_images(1, side=32)[0][1]()
    pictures = []
    for weights in (out / "model", tmp_path / "third" / "model"):
        codec = load_codec("fusion", fusion="additive", weights=str(weights), prior=str(prior), device="cpu")
        pictures.append(codec.decode(codec.encode(image, 1), steps=1))
    assert pictures[0].shape == image.shape
    assert not np.array_equal(*pictures)
    begun = ("--stage", 3, "--prior", prior, "--weights", out / "model", "--data", folder, "--device", "cpu")
    assert rdbench(*begun, "--out", tmp_path / "third", "--export", model="fusion") == 0
    again = ("--out", tmp_path / "fourth", "--init", tmp_path / "third" / "model", "--preset", "micro", "--steps", 1)
    assert rdbench(*begun, *again, model="fusion") == 0


def test_a_second_stage_goes_on_with_its_own_settings(
    folder: Path, tmp_path: Path, small_prior: Path, small_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--stage", 2, "--prior", small_prior, "--hyperprior", small_weights, "--data", folder)
    base = (*base, "--out", tmp_path, "--device", "cpu")
    begin = ("--resume", "--preset", "micro", "--fusion", "additive", "--steps", 1)
    assert rdbench(*base, *begin, model="fusion") == 0
    assert f"nothing has begun in '{tmp_path}': beginning with the preset micro" in capsys.readouterr().err
    # Neither the preset nor the kind need be said again; to say the same again is no contradiction.
    assert rdbench(*base, "--resume", "--steps", 2, model="fusion") == 0
    assert rdbench(*base, "--resume", "--fusion", "additive", "--steps", 3, model="fusion") == 0
    assert rdbench(*base, "--export", model="fusion") == 0
    with pytest.raises(CodecError, match="was begun with other settings"):
        rdbench(*base, "--resume", "--fusion", "attentive", "--steps", 3, model="fusion")


def test_a_first_stage_keeps_what_it_begins_with_and_adds_what_is_asked_for(folder: Path, tmp_path: Path) -> None:
    def train(out: str, *arguments: object) -> None:
        base = ("--stage", 1, "--data", folder, "--device", "cpu", "--out", tmp_path / out)
        assert rdbench(*base, *arguments, model="fusion") == 0

    def width(out: str) -> int:
        return load_hyperprior(tmp_path / out / "model" / "hyperprior").config.context_width

    def offset(out: str) -> float:
        return load_hyperprior(tmp_path / out / "model" / "hyperprior").config.rounding_offset

    micro = ("--preset", "micro")
    train("plain", *micro, "--steps", 1)
    named = ("--set", "model.context_width=8", "--set", "model.rounding_offset=0.6")
    added = (*micro, "--init", tmp_path / "plain" / "model", *named)
    train("added", *added, "--steps", 1)
    # The same again is no contradiction, and need not be said.
    train("added", *added, "--steps", 2, "--resume")
    train("added", "--steps", 3, "--resume")
    train("added", *added, "--export")
    assert width("added") == 8
    # The preset knows no context: the model that it begins with has one.
    kept = (*micro, "--init", tmp_path / "added" / "model")
    train("kept", *kept, "--steps", 1)
    train("kept", *kept, "--steps", 2, "--resume")
    train("kept", *kept, "--export")
    assert (width("kept"), offset("kept")) == (8, 0.6)
    train("other", *kept, "--set", "model.rounding_offset=0.55", "--steps", 1)
    assert offset("other") == 0.55
    # Settings that ask for one get one, though the model lacks it.
    train("asked", "--preset", tmp_path / "added" / "config.json", "--init", tmp_path / "plain" / "model", "--steps", 1)
    assert width("asked") == 8
