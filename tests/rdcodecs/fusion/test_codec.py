import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rdcodecs import CodecError, load_codec
from rdcodecs.codec import Codec, MissingDependencyError, OptionError, StreamError
from rdcodecs.prior import Prior
from rdtrain.ablation.decoder import ablate
from small_codecs import picture


@pytest.fixture
def make(small_weights: Path, small_prior: Path) -> Any:
    def codec(**options: Any) -> Codec:
        return load_codec(
            "fusion", **{"weights": str(small_weights), "prior": str(small_prior), "device": "cpu"} | options
        )

    return codec


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 96), (100, 71)])
def test_every_size_comes_back_from_the_bytes_alone(make: Any, size: tuple[int, int]) -> None:
    image = picture(*size)
    assert make().decode(make().encode(image, 1), steps=2).shape == image.shape


@pytest.mark.parametrize(
    "options",
    [
        {"fusion": "additive"},
        {"renormalize": "off"},
        {"renormalize": "auxiliary"},
        {"renormalize": "local"},
        {"start": "auxiliary"},
        {"window": 9},
        {"span": 0.5},
    ],
)
def test_options_change_the_picture_and_the_fingerprint(make: Any, options: dict[str, Any]) -> None:
    image = picture(64, 64)
    usual, changed = make(), make(**options)
    data = usual.encode(image, 1)
    assert not np.array_equal(usual.decode(data, steps=2), changed.decode(data, steps=2))
    assert usual.fingerprint() != changed.fingerprint()


def test_one_stream_serves_all_step_counts_and_repeats(make: Any) -> None:
    data = make().encode(picture(48, 48), 0)
    made = {steps: make().decode(data, steps=steps) for steps in (1, 3, 10)}
    assert not np.array_equal(made[1], made[3])
    np.testing.assert_array_equal(make().decode(data), made[10])


def test_no_steps_show_the_sketch(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(50, 70)
    links, _ = ablate(make(), image, 1, steps=1)
    monkeypatch.setattr(Prior, "denoise", lambda *_: pytest.fail("it was denoised"))
    data = make().encode(image, 1)
    for renormalize, link in (("learned", "sketch, learned"), ("off", "sketch")):
        np.testing.assert_array_equal(make(renormalize=renormalize).decode(data, steps=0), links[link])


def test_another_process_decodes_the_same(make: Any, small_weights: Path, small_prior: Path) -> None:
    data = make().encode(picture(70, 50), 1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        other = pool.submit(decode_elsewhere, str(small_weights), str(small_prior), data).result()
    np.testing.assert_array_equal(make().decode(data, steps=3), other)


def decode_elsewhere(weights: str, prior: str, data: bytes) -> Any:
    return load_codec("fusion", weights=weights, prior=prior, device="cpu").decode(data, steps=3)


def test_a_batch_of_several_sizes_decodes_in_order(make: Any) -> None:
    codec = make()
    images = [picture(64, 64), picture(40, 56, 1), picture(64, 64, 2)]
    streams = [codec.encode(image, index % 2) for index, image in enumerate(images)]
    together = codec.decode_batch(streams, steps=2)
    for data, made in zip(streams, together, strict=True):
        np.testing.assert_array_equal(made, codec.decode(data, steps=2))


def test_colours_are_the_sources(make: Any) -> None:
    image = picture(96, 96)
    codec = make(renormalize="source")
    made = codec.decode(codec.encode(image, 1), steps=2)
    np.testing.assert_allclose(made.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=3)
    np.testing.assert_allclose(made.std(axis=(0, 1)), image.std(axis=(0, 1)), rtol=0.15)


def test_the_statistics_cost_six_bytes_and_the_baseline_reads_past_them(make: Any, small_weights: Path) -> None:
    image = picture(64, 64)
    with_them, without = make(renormalize="source").encode(image, 1), make().encode(image, 1)
    assert len(with_them) == len(without) + 6
    baseline = load_codec("hyperprior", weights=str(small_weights), device="cpu")
    np.testing.assert_array_equal(baseline.decode(with_them), baseline.decode(without))
    with pytest.raises(StreamError, match="no colour statistics of its source"):
        make(renormalize="source").decode(without)


def test_weights_without_an_enhancer_renormalize_alone(make: Any, small_weights: Path, tmp_path: Path) -> None:
    data = make().encode(picture(48, 48), 1)
    assert make().fingerprint() == make(renormalize="learned").fingerprint()
    copy = Path(shutil.copytree(small_weights, tmp_path / "weights"))
    shutil.rmtree(copy / "fusion" / "enhancer")
    bare = make(weights=str(copy))
    assert bare.fingerprint() == make(renormalize="local").fingerprint()
    np.testing.assert_array_equal(bare.decode(data, steps=2), make(renormalize="local").decode(data, steps=2))
    message = (
        "enhancer' lacks config.json: train it with 'rdbench train fusion --stage 3', or decode with renormalize=loc"
    )
    with pytest.raises(MissingDependencyError, match=message):
        make(weights=str(copy), renormalize="learned")


def test_damage_is_always_noticed(make: Any) -> None:
    codec = make()
    data = codec.encode(picture(64, 64), 1)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        with pytest.raises(StreamError):
            codec.decode(bytes(damaged))
    for wrong in (b"", data[:-1], data + b"\0", b"PNG" + data):
        with pytest.raises(StreamError):
            codec.decode(wrong)


def test_options_out_of_range(make: Any) -> None:
    with pytest.raises(OptionError, match="fusion must be one of attentive, additive, not 'mean'"):
        make(fusion="mean")
    with pytest.raises(
        OptionError, match="renormalize must be one of auto, off, auxiliary, source, local, learned, not 'on'"
    ):
        make(renormalize="on")
    data = make().encode(picture(32, 32), 0)
    for steps in (-1, 1001, 2.5, True, "10"):
        with pytest.raises(OptionError, match="steps must be a whole number from 0 to 1000"):
            make().decode(data, steps=steps)
    with pytest.raises(OptionError, match="no decode option 'step': have steps"):
        make().decode(data, step=3)


def test_the_span_is_that_of_the_training_unless_given(make: Any, small_weights: Path, tmp_path: Path) -> None:
    data = make().encode(picture(48, 48), 1)
    copy = Path(shutil.copytree(small_weights, tmp_path / "weights"))
    path = copy / "fusion" / "attentive" / "config.json"
    config = json.loads(path.read_text())
    assert config["shape"].pop("span") == 1.0
    path.write_text(json.dumps(config))  # as versions before it wrote it
    old = make(weights=str(copy))
    assert np.array_equal(old.decode(data, steps=3), make().decode(data, steps=3))
    config["shape"]["span"] = 0.25
    path.write_text(json.dumps(config))
    short = make(weights=str(copy))
    assert np.array_equal(short.decode(data, steps=3), make(span=0.25).decode(data, steps=3))
    assert np.array_equal(make(weights=str(copy), span=1).decode(data, steps=3), old.decode(data, steps=3))
    assert short.fingerprint() != old.fingerprint()
    with pytest.raises(OptionError, match="steps must be a whole number from 0 to 250, not 251"):
        short.decode(data, steps=251)
    # From a start it is of no consequence.
    assert make(span=0.25, start="auxiliary").fingerprint() == make(start="auxiliary").fingerprint()


@pytest.mark.parametrize("span", [-0.1, 1.5, True, "all"])
def test_a_span_out_of_range_is_refused(span: Any) -> None:
    with pytest.raises(OptionError, match="span must be a number from 0 to 1, not"):
        load_codec("fusion", span=span)


def test_weights_for_another_prior_are_refused(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(small_prior, tmp_path / "prior"))
    from rdcodecs.prior.load import load_network

    unet: Any = load_network(other, "unet")
    with torch.no_grad():
        unet.conv_in.bias += 1
    unet.save_pretrained(other / "unet")
    codec = load_codec("fusion", weights=str(small_weights), prior=str(other), device="cpu")
    with pytest.raises(
        CodecError,
        match=f"another prior than '{other}': name the one it was trained for, or train stage 2 with --prior",
    ):
        codec.check()


def test_weights_for_another_hyperprior_are_refused(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_weights, tmp_path / "weights"))
    path = copy / "fusion" / "attentive" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hyperprior": "00"}))
    codec = load_codec("fusion", weights=str(copy), prior=str(small_prior), device="cpu")
    with pytest.raises(CodecError, match="trained for another hyperprior"):
        codec.check()
    (path.parent / "model.safetensors").unlink()
    codec = load_codec("fusion", weights=str(copy), prior=str(small_prior), device="cpu")
    with pytest.raises(MissingDependencyError, match=r"lacks model\.safetensors: train it with 'rdbench train fusion"):
        codec.check()


@pytest.mark.parametrize("window", [1, 8, -3, 2.5, True])
def test_a_window_that_has_no_middle_is_refused(window: Any) -> None:
    with pytest.raises(OptionError, match="window must be 0 or an odd number of pixels from 3 on"):
        load_codec("fusion", window=window)
