import argparse
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rdcodecs.perco.codec import PerCoCodec
from rdcodecs.perco.weights import load_perco
from rdcodecs.prior import Prior, load
from rdtrain.commands.train.arguments import add_perco
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget, Outcome, Report
from rdtrain.core.recipe import Training
from rdtrain.core.state import load_state
from rdtrain.perco.network import PerCoNetwork
from rdtrain.perco.settings import PRESETS, PerCoTrainConfig
from rdtrain.perco.task import PerCoTask
from rdtrain.prior.autoencoder import make_autoencoder
from rdtrain.prior.export import export_autoencoder, export_unet
from rdtrain.prior.latents import Latents
from rdtrain.prior.settings import PRESETS as PRIOR_PRESETS
from rdtrain.prior.trajectory import TrajectoryLoss
from rdtrain.prior.unet import make_unet, scheduler_config
from small_perco import perco_training, write_public
from small_training import changed, smooth_images

PRIOR = PRIOR_PRESETS["micro"]
MakeTraining = Callable[..., Training[PerCoTask]]


@pytest.fixture
def make_training(perco_prior: Path) -> MakeTraining:
    """Makes a training in a folder, by the arguments of `perco_training`."""
    return functools.partial(perco_training, prior=perco_prior)


def test_the_tiny_one_has_at_least_four_rate_points_in_the_range_wanted() -> None:
    rates = [point.bits_per_pixel() for point in PRESETS["tiny"].rate_points(4)]
    assert rates == sorted(rates)
    assert sum(0.003 <= rate <= 0.13 for rate in rates) >= 4
    assert PerCoCodec.default_rates == tuple(range(len(rates)))


def test_it_learns_what_the_indices_tell() -> None:
    """Flat latents, each of its own value: its own features must lead nearer to it than another's."""
    torch.manual_seed(1)
    prior = Prior(make_autoencoder(PRIOR.autoencoder), make_unet(PRIOR.unet), scheduler_config(PRIOR.unet))
    shape = {"grids": (32,), "codebook_sizes": (16,), "width": 16, "features": 16}
    config = dataclasses.replace(PRESETS["micro"], learning_rate=3e-3, batch=12, **shape)  # type: ignore[arg-type]
    latents = Latents(*(torch.randn(count, 1, 1, 4).expand(-1, 8, 8, 4).contiguous() for count in (500, 48)), "flat")
    judge = TrajectoryLoss(config.pictures, prior, None)
    task = PerCoTask(
        config, latents, torch.device("cpu"), PerCoNetwork(prior.unet, config.rate_points(4)), prior, judge
    )
    before = task.evaluate()["loss"]
    for step in range(50):
        logged = task.step(step, step / 50)
    figures = task.evaluate()
    assert figures["loss"] < 0.9 * before
    clean = latents.held_out.permute(0, 3, 1, 2)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        own, _ = task.average.model.quantise(clean, torch.zeros(48, dtype=torch.long))
        errors = [
            float(task._errors(task.average.model, clean, features, torch.full((48,), 900), noise)[0].mean())
            for features in (own, own.roll(1, 0))
        ]
    assert errors[0] < 0.9 * errors[1]
    # The codebook has not collapsed.
    assert 8 < figures["perplexity_0"] <= 16
    assert 8 < float(logged["perplexity_0"]) <= 16
    assert figures["used_0"] > 0.75


def test_a_training_that_crashed_goes_on_the_same(make_training: MakeTraining, tmp_path: Path) -> None:
    one = {"grids": (32,), "codebook_sizes": (16,)}
    make_training(tmp_path / "whole", **one).train(Budget(steps=4))
    crashing = make_training(tmp_path / "parts", report=crash, log_steps=1, save_seconds=0, **one)
    with pytest.raises(ZeroDivisionError):
        crashing.train(Budget(steps=4))
    make_training(tmp_path / "parts", **one).train(Budget(steps=4))
    states = [load_state(tmp_path / name / "perco") for name in ("whole", "parts")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].step == states[1].step == 4
    for name, value in states[0].tensors.items():
        assert torch.equal(value, states[1].tensors[name]), name


def crash(report: Report) -> None:
    if report.step == 3:
        raise ZeroDivisionError


def test_the_whole_unet_is_trained_but_for_its_former_input(small_perco: Path, perco_prior: Path) -> None:
    state = load_state(small_perco.parent / "perco")
    assert state is not None
    before = load(perco_prior, device="cpu").unet.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, state.tensors[f"model.unet.{name}"])}
    # Without text there is one token, so that it does not matter how cross-attention asks for it.
    assert {name for name in same if "norm2" not in name and "attn2" not in name} == {"conv_in.weight", "conv_in.bias"}
    train = [line for line in read_log(small_perco.parent / "perco") if line["kind"] == "train"]
    assert ["picture" in line for line in train] == [line["step"] > train[-1]["step"] / 2 for line in train]


def test_what_is_exported_is_what_was_averaged(small_perco: Path, make_training: MakeTraining, tmp_path: Path) -> None:
    out = Path(shutil.copytree(small_perco.parent, tmp_path / "out"))
    state = load_state(out / "perco")
    assert state is not None
    model = load_perco(out / "model")
    for level, point in enumerate(model.points):
        for name, value in point.encoder.named_parameters():
            stored = state.tensors[f"average.encoders.{level}.{name}"]
            torch.testing.assert_close(value, stored, atol=1e-3, rtol=1e-3)
        use = state.tensors[f"model.encoders.{level}.quantizer._codebook.cluster_size"]
        torch.testing.assert_close(point.encoder.quantizer.codebook.cluster_size, use, atol=1e-2, rtol=1e-3)
    names = {path.name for path in (out / "model").iterdir()}
    assert names == {"perco", "scheduler", "vae"}
    shutil.rmtree(out / "model")
    make_training(out).export()
    assert load_perco(out / "model").digest == model.digest


def test_the_card_has_every_rate_point(small_perco: Path) -> None:
    record = json.loads((small_perco / "perco" / "training.json").read_text())
    card = (small_perco / "perco" / "README.md").read_text()
    last = [line for line in read_log(small_perco.parent / "perco") if line["kind"] == "held_out"][-1]
    for level, row in enumerate(record["rate_points"]):
        assert row["perplexity"] == pytest.approx(last[f"perplexity_{level}"], rel=1e-4)
        assert row["loss"] == pytest.approx(last[f"loss_{level}"], rel=1e-4)
        assert f"| {row['codebook']} | {row['loss']:.4g} | {row['perplexity']:.4g} |" in card
    assert len(record["rate_points"]) == len(load_perco(small_perco).points)


def test_it_goes_on_from_an_exported_model(small_perco: Path, make_training: MakeTraining, tmp_path: Path) -> None:
    training = make_training(tmp_path, start=small_perco)
    assert training.train(Budget(steps=1)) is Outcome.FINISHED
    before, after = load_perco(small_perco), load_perco(tmp_path / "model")
    # One step of a warmup moves little, and the codebooks that were in use are not placed anew.
    for old, new in zip(before.points, after.points, strict=True):
        old_entries, new_entries = (point.encoder.quantizer.codebook.entries for point in (old, new))
        assert float((old_entries * new_entries).sum(dim=-1).median()) > 0.999
    wanted = before.prior.unet.state_dict()
    for name, value in after.prior.unet.state_dict().items():
        torch.testing.assert_close(value, wanted[name], atol=0.01, rtol=0.01)
    other = make_training(tmp_path / "other", start=small_perco, grids=(32,), codebook_sizes=(16,))
    with pytest.raises(TrainingError, match=r"the hyper-encoder .*grid=64.* where the settings have None"):
        other.train(Budget(steps=1))


def test_it_does_not_go_on_with_another_u_net(small_perco: Path, make_training: MakeTraining, tmp_path: Path) -> None:
    larger = dataclasses.replace(PRIOR.unet, block_out_channels=(16, 16))
    export_autoencoder(make_autoencoder(PRIOR.autoencoder), tmp_path / "prior")
    export_unet(make_unet(larger), scheduler_config(larger), tmp_path / "prior")
    training = changed(make_training(tmp_path / "out"), prior=str(tmp_path / "prior"), start=small_perco)
    with pytest.raises(TrainingError, match="has another U-Net than the prior"):
        training.train(Budget(steps=1))


def test_export_needs_a_state(make_training: MakeTraining, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing has been trained"):
        make_training(tmp_path).export()


def test_another_prior_is_noticed(small_perco: Path, make_training: MakeTraining, tmp_path: Path) -> None:
    shutil.copytree(small_perco.parent / "perco", tmp_path / "perco")
    training = make_training(tmp_path)
    prior = write_public(tmp_path / "public", grid=32, size=256)
    other = changed(training, prior=str(prior))
    with pytest.raises(TrainingError, match=r"begun with different (prior|settings)"):
        other.train(Budget(steps=20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grids": (8, 16, 32)}, "one number for each of 1 to 16 rate points"),
        ({"grids": (64, 32), "codebook_sizes": (256, 256)}, "must go from low to high rate"),
        ({"grids": (12,), "codebook_sizes": (256,)}, "a grid of 12 is not supported"),
    ],
)
def test_rate_points_are_checked(
    settings: dict[str, tuple[int, ...]], message: str, make_training: MakeTraining, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        PerCoTrainConfig(**settings).rate_points(4)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=f"the settings do not fit: .*{message}"):
        make_training(tmp_path, **settings).train(Budget(steps=1))


def test_the_command_trains_and_goes_on(perco_prior: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "photos"
    data.mkdir()
    for name, read in smooth_images(6):
        Image.fromarray(read()).save(data / name)
    parser = argparse.ArgumentParser()
    add_perco(parser.add_subparsers(dest="model"))

    def run(*more: str) -> int:
        common = ["perco", "--data", str(data), "--out", str(tmp_path / "out"), "--prior", str(perco_prior)]
        options = parser.parse_args([*common, "--device", "cpu", *more])
        return int(options.execute(options))

    assert run("--preset", "micro", "--steps", "2") == 0
    assert run("--resume", "--steps", "3", "--log-steps", "1") == 0
    said = capsys.readouterr().err
    assert "perco step 3" in said
    assert "perco: finished" in said
    assert f"model: {tmp_path / 'out' / 'model'}" in said
    assert run("--export", "--steps", "3") == 0
    common = ["--preset", "micro", "--init", str(tmp_path / "out" / "model"), "--out", str(tmp_path / "further")]
    assert run(*common, "--steps", "1") == 0
    codec = PerCoCodec(model=str(tmp_path / "out" / "model"), device="cpu")
    image = np.full((40, 40, 3), 90, dtype=np.uint8)
    assert codec.decode(codec.encode(image, 0), steps=2).shape == image.shape
