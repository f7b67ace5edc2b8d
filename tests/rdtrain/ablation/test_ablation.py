"""rdbench diagnose fusion."""

import argparse
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rdbench.errors import BenchError
from rdbench.metrics import make_metric
from rdcodecs.fusion.codec import FusionCodec
from rdtrain.ablation.decoder import ABLATIONS, ablate
from rdtrain.ablation.measure import measure_ablations, measure_variants
from rdtrain.commands import diagnose
from small_codecs import picture
from small_training import smooth_images


@pytest.fixture
def codec(small_weights: Path, small_prior: Path) -> FusionCodec:
    return FusionCodec(prior=str(small_prior), weights=str(small_weights), device="cpu", renormalize="off")


def test_every_link_has_a_picture_and_they_are_those_of_the_codec(codec: FusionCodec) -> None:
    image = picture(64, 48)
    made, length = ablate(codec, image, 1, steps=2)
    assert list(made) == list(ABLATIONS)
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in made.values())
    assert length == len(codec.encode(image, 1))
    data = codec.encode(image, 1)
    np.testing.assert_array_equal(made["hyperprior"], codec.hyperprior.decode(data))
    # The very same but for the seed of the noise.
    assert not np.array_equal(made["sampler"], made["unsteered"])
    assert not np.array_equal(made["sampler"], made["sampler, 50 steps"])
    assert not np.array_equal(made["local"], made["learned"])
    # Where the sampler ends must not matter for what does not sample.
    again, _ = ablate(codec, image, 1, steps=3)
    np.testing.assert_array_equal(made["adapter"], again["adapter"])
    np.testing.assert_array_equal(made["autoencoder"], again["autoencoder"])
    np.testing.assert_array_equal(made["sketch, learned"], again["sketch, learned"])
    # It is the enhancer's, of the sketch.
    for other in ("sketch", "local", "learned"):
        assert np.abs(made["sketch, learned"].astype(int) - made[other]).max() > 3, other


def test_weights_without_an_enhancer_have_fewer_links(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_weights, tmp_path / "weights"))
    shutil.rmtree(copy / "fusion" / "enhancer")
    made, _ = ablate(FusionCodec(prior=str(small_prior), weights=str(copy), device="cpu"), picture(32, 32), 1, steps=1)
    assert list(made) == [name for name in ABLATIONS if "learned" not in name]


def test_links_end_where_the_control_was_trained_to(codec: FusionCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(48, 48)
    whole, _ = ablate(codec, image, 1, steps=3)
    np.testing.assert_array_equal(whole["sampler"], whole["sampler, all levels"])
    config = codec.control.config
    monkeypatch.setattr(codec.control, "config", dataclasses.replace(config, span=0.3))
    part, _ = ablate(codec, image, 1, steps=3)
    assert not np.array_equal(part["sampler"], part["sampler, all levels"])
    np.testing.assert_array_equal(part["sampler, all levels"], whole["sampler"])
    for link in ("sampler, 50 steps", "local", "auxiliary", "source"):
        assert not np.array_equal(part[link], whole[link]), link
    np.testing.assert_array_equal(part["oracle start"], whole["oracle start"])


def test_the_table_holds_means_over_images(codec: FusionCodec, tmp_path: Path) -> None:
    images = [picture(64, 64), picture(64, 64, 1)]
    table = measure_ablations(codec, images, [0, 1], steps=1, metrics=["psnr"], pictures=tmp_path)
    assert list(table.columns) == ["level", "bpp", "link", "images", "psnr"]
    assert len(table) == 2 * len(ABLATIONS)
    psnr = make_metric("psnr")
    wanted = np.mean([psnr(image, ablate(codec, image, 1, 1)[0]["autoencoder"]) for image in images])
    row = table[(table["level"] == 1) & (table["link"] == "autoencoder")].iloc[0]
    assert row["psnr"] == pytest.approx(wanted)
    assert row["images"] == 2
    assert len(list(tmp_path.glob("*.png"))) == 2 * len(ABLATIONS)


def test_the_command(
    small_weights: Path, small_prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stlpips_pytorch")
    for name, read in smooth_images(3, side=256):
        Image.fromarray(read()).save(tmp_path / name)
    parser = argparse.ArgumentParser()
    diagnose.add_parser(parser.add_subparsers())
    arguments = ["--data", tmp_path, "--prior", small_prior, "--weights", small_weights, "--levels", 1, "--steps", 1]
    command = ["diagnose", "fusion", *map(str, arguments), "--images", "1", "--out", str(tmp_path / "links.csv")]
    options = parser.parse_args(command)
    assert options.execute(options) == 0
    said = capsys.readouterr().out
    assert "level 1, 1 images" in said
    assert "the floor of every picture" in said
    assert list(pd.read_csv(tmp_path / "links.csv")["link"]) == list(ABLATIONS)

    options = parser.parse_args([*command, "--vary", "renormalize=off,local", "--metrics", "psnr"])
    assert options.execute(options) == 0
    table = pd.read_csv(tmp_path / "links.csv")
    assert list(table["variant"]) == ["renormalize off", "renormalize local"]
    assert list(table.columns)[-1] == "psnr"
    options = parser.parse_args([*command, "--vary", "span=1,0.5", "--steps", "3", "--metrics", "psnr"])
    assert options.execute(options) == 0
    table = pd.read_csv(tmp_path / "links.csv")
    assert table["psnr"].nunique() == 2
    assert table["bpp"].nunique() == 1
    options = parser.parse_args([*command, "--vary", "window=5,9", "--pictures", str(tmp_path)])
    with pytest.raises(BenchError, match="--pictures writes the pictures of links"):
        options.execute(options)
    for wrong in ("span", "span=", "span=1,,0.5", "fusion=additive"):
        options = parser.parse_args([*command, "--vary", wrong])
        with pytest.raises(BenchError, match=f"--vary {wrong}: write OPTION=A,B,... with an option of span, window"):
            options.execute(options)


def test_variants_are_measured_from_their_own_streams(
    codec: FusionCodec, small_weights: Path, small_prior: Path
) -> None:
    images = [picture(64, 64), picture(64, 64, 1)]
    source = FusionCodec(prior=str(small_prior), weights=str(small_weights), device="cpu", renormalize="source")
    table = measure_variants([("off", codec), ("source", source)], images, [1], steps=1, metrics=["psnr"])
    assert list(table.columns) == ["level", "bpp", "variant", "images", "psnr"]
    psnr = make_metric("psnr")
    for name, one in (("off", codec), ("source", source)):
        streams = [one.encode(image, 1) for image in images]
        row = table[table["variant"] == name].iloc[0]
        assert row["bpp"] == pytest.approx(8 * sum(map(len, streams)) / (2 * 64 * 64))
        pictures = [one.decode(data, steps=1) for data in streams]
        assert row["psnr"] == pytest.approx(np.mean([psnr(*pair) for pair in zip(images, pictures, strict=True)]))
    # The colours of the source are sent.
    assert table["bpp"].iloc[1] - table["bpp"].iloc[0] == pytest.approx(6 * 8 / (64 * 64))
