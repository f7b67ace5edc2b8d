import copy
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rdcodecs.entropy import gaussian_tables
from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.likelihood import scale_table
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget, Report
from rdtrain.core.settings import change
from rdtrain.core.state import load_state
from rdtrain.hyperprior.settings import HyperpriorTrainConfig
from small_codecs import HYPERPRIOR, hyperprior_training, picture


def test_lambdas_are_in_geometric_progression() -> None:
    lambdas = HyperpriorTrainConfig(lambda_low=0.001, lambda_high=0.008).lambdas
    assert len(lambdas) == 8
    ratios = [high / low for low, high in itertools.pairwise(lambdas)]
    assert ratios == pytest.approx([8 ** (1 / 7)] * 7)


def test_it_learns(tmp_path: Path) -> None:
    hyperprior_training(tmp_path, log_steps=1, settings={"fitted_from": 1}).train(Budget(steps=60))
    lines = [line for line in read_log(tmp_path / "stage-1") if line["kind"] == "train"]
    for name, share in (("loss", 0.6), ("mse", 0.95)):
        values = [line[name] for line in lines]
        assert sum(values[-10:]) < share * sum(values[:10]), name
    held_out = [line for line in read_log(tmp_path / "stage-1") if line["kind"] == "held_out"][-1]
    assert held_out["bpp_1"] > held_out["bpp_0"]


@pytest.mark.parametrize(("sketches", "fitted_from"), [(False, 0.75), (True, 0.75), (False, 0.5), (False, 0.0)])
def test_a_training_that_crashed_goes_on_the_same(
    sketches: bool, fitted_from: float, small_prior: Path, tmp_path: Path
) -> None:
    # The crash is before the fit of the entropy model, or in it.
    same: dict[str, Any] = {"prior": small_prior if sketches else None, "settings": {"fitted_from": fitted_from}}
    hyperprior_training(tmp_path / "whole", **same).train(Budget(steps=6))
    crashing = hyperprior_training(tmp_path / "parts", **same, report=crash, log_steps=1, save_seconds=0)
    with pytest.raises(ZeroDivisionError):
        crashing.train(Budget(steps=6))
    hyperprior_training(tmp_path / "parts", **same).train(Budget(steps=6))
    states = [load_state(tmp_path / name / "stage-1") for name in ("whole", "parts")]
    assert states[0] is not None
    assert states[1] is not None
    for name, value in states[0].tensors.items():
        assert torch.equal(value, states[1].tensors[name]), name


def crash(report: Report) -> None:
    if report.step == 4:
        raise ZeroDivisionError


def test_export_needs_a_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing has been trained"):
        hyperprior_training(tmp_path).export()


def test_it_goes_on_from_an_exported_model(tmp_path: Path) -> None:
    first = hyperprior_training(tmp_path / "first")
    first.train(Budget(steps=30))
    before = [line for line in read_log(tmp_path / "first" / "stage-1") if line["kind"] == "held_out"][-1]
    start = tmp_path / "first" / "model" / "hyperprior"
    after = hyperprior_training(tmp_path / "second", start=start).task().evaluate()
    for level in range(2):
        assert after[f"psnr_{level}"] == pytest.approx(before[f"psnr_{level}"], abs=0.02)
    # The prior is fitted to whole numbers now, where noise had been added to them.
    assert after["bpp_0"] < before["bpp_0"]
    assert after["bpp_1"] == pytest.approx(before["bpp_1"], rel=0.05)
    with pytest.raises(TrainingError, match="another shape than the settings"):
        hyperprior_training(tmp_path / "third", start=start, settings={"model": HyperpriorConfig()}).task()


def test_at_last_the_entropy_model_alone_is_fitted(tmp_path: Path) -> None:
    shape = dataclasses.replace(HYPERPRIOR.model, context_width=8)
    hyperprior_training(tmp_path / "first", settings={"model": shape, "fitted_from": 1}).train(Budget(steps=30))
    start = tmp_path / "first" / "model" / "hyperprior"
    training = hyperprior_training(tmp_path / "second", start=start, settings={"model": shape, "fitted_from": 0})
    task = training.task()
    before, weights = task.evaluate(), copy.deepcopy(task.average.model.state_dict())
    for step in range(40):
        task.step(step, step / 40)
    after = task.evaluate()
    assert after["bpp_1"] < 0.9 * before["bpp_1"]
    assert after["psnr_1"] == pytest.approx(before["psnr_1"], abs=0.2)
    fitted = {name for name, value in task.average.model.state_dict().items() if not torch.equal(value, weights[name])}
    assert {name.split(".")[0] for name in fitted} == {"hyper_synthesis", "context", "prior"}


@pytest.mark.parametrize("share", [-0.1, 1.5, 75, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(TrainingError, match="a share of the training, from 0 to 1"):
        change(HYPERPRIOR, {"fitted_from": json.dumps(share)})


def test_coarse_errors_count_as_weighed(tmp_path: Path) -> None:
    def first_step(weight: float) -> dict[str, float]:
        settings = {"lambda_low": 0.01, "lambda_high": 0.01, "coarse_weight": weight}
        figures = hyperprior_training(tmp_path, settings=settings).task().step(0, 0.0)
        return {name: float(value) for name, value in figures.items()}

    without, weighed = first_step(0.0), first_step(3.0)
    assert without["coarse_mse"] == weighed["coarse_mse"] > 0
    assert weighed["loss"] - without["loss"] == pytest.approx(0.01 * 3 * weighed["coarse_mse"], rel=1e-4)


def test_latents_tables_know_what_was_counted(small_weights: Path) -> None:
    codec = HyperpriorCodec(weights=str(small_weights), device="cpu")
    images = [picture(64, 64, seed) for seed in range(4)]
    counted = sum(codec.code(image, 1)[1].bits for image in images)
    coder = codec.model.coder
    coder._latent_tables = gaussian_tables(scale_table())
    assert counted < sum(codec.code(image, 1)[1].bits for image in images)
