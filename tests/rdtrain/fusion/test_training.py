import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rdcodecs.fusion.renormalize import match_neighbourhoods, window_at
from rdcodecs.pixels import to_tensor
from rdcodecs.prior import PriorError
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget
from rdtrain.core.recipe import Training
from rdtrain.core.state import load_state
from rdtrain.fusion.control import FusionTask
from rdtrain.fusion.settings import CONTROL_PRESETS
from rdtrain.prior.trajectory import PictureSettings
from small_codecs import fusion_training, hyperprior_training
from small_training import changed


def frozen_weights(training: Training[FusionTask]) -> dict[str, torch.Tensor]:
    codec = training.recipe.codec
    networks = {"vae": codec.prior.vae, "unet": codec.prior.unet, "hyperprior": codec.hyperprior.network}
    return {
        f"{part}.{name}": value.clone() for part, net in networks.items() for name, value in net.state_dict().items()
    }


@pytest.mark.parametrize("kind", ["attentive", "additive"])
def test_the_control_learns_and_nothing_else_moves(
    small_weights: Path, small_prior: Path, tmp_path: Path, kind: str
) -> None:
    training = fusion_training(tmp_path, small_weights, small_prior, kind, log_steps=1)  # type: ignore[arg-type]
    before = frozen_weights(training)
    training.train(Budget(steps=5))
    after = frozen_weights(training)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    state = load_state(tmp_path / "stage-2")
    assert state is not None
    fresh = fusion_training(tmp_path, small_weights, small_prior, kind).task().model  # type: ignore[arg-type]
    still = [name for name, value in fresh.state_dict().items() if torch.equal(value, state.tensors[f"model.{name}"])]
    # Only what depends on a rate level that no batch has drawn yet may be as it was.
    assert all(".level." in name for name in still)
    held_out = [line for line in read_log(tmp_path / "stage-2") if line["kind"] == "held_out"]
    assert held_out[-1]["loss"] > 0


def test_both_kinds_see_the_same_crops_and_noise(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    # At the first step both leave the prior as it is: with the same draws the losses are the same.
    losses = []
    for kind in ("attentive", "additive"):
        training = fusion_training(tmp_path / kind, small_weights, small_prior, kind, log_steps=1)  # type: ignore[arg-type]
        training.train(Budget(steps=1))
        losses.append(read_log(tmp_path / kind / "stage-2")[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_state_of_another_hyperprior_is_refused(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path / "other", seed=3).train(Budget(steps=1))
    fusion_training(tmp_path / "f", small_weights, small_prior).train(Budget(steps=1))
    with pytest.raises(TrainingError, match="begun with different hyperprior"):
        fusion_training(tmp_path / "f", tmp_path / "other" / "model", small_prior).train(Budget(steps=2))


def test_a_state_of_another_perceptual_loss_is_refused(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    training = fusion_training(tmp_path, small_weights, small_prior)
    training.train(Budget(steps=1))
    with pytest.raises(TrainingError, match="begun with different perceptual loss: give the same again"):
        changed(training, perceptual=None).train(Budget(steps=2))


def test_pictures_are_judged_in_the_later_part(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    settings = {"pictures": PictureSettings(weight=1.0, begin=0.5, steps=(2, 3))}
    training = fusion_training(tmp_path, small_weights, small_prior, settings=settings, log_steps=1)
    before = frozen_weights(training)
    training.train(Budget(steps=4))
    train = [line for line in read_log(tmp_path / "stage-2") if line["kind"] == "train"]
    assert ["picture" in line for line in train] == [False, False, True, True]
    assert all(line["picture"] > 0 for line in train[2:])
    assert all(torch.equal(value, frozen_weights(training)[name]) for name, value in before.items())


def test_pictures_are_judged_as_renormalization_leaves_them(
    small_weights: Path, small_prior: Path, tmp_path: Path
) -> None:
    judged = {}
    for share in (0.0, 1.0):
        pictures = PictureSettings(weight=1.0, begin=0.0, images=2, steps=(2,))
        settings = {"pictures": pictures, "renormalized": share}
        training = fusion_training(tmp_path / str(share), small_weights, small_prior, settings=settings, log_steps=1)
        training.train(Budget(steps=1))
        judged[share] = read_log(tmp_path / str(share) / "stage-2")[0]["picture"]
    # An untrained prior's colours are far off, which the auxiliary picture's mend.
    assert judged[1.0] < judged[0.0]
    # Some of them only, each in the codec's own windows.
    settings = {"renormalized": 0.6}
    task = fusion_training(tmp_path / "some", small_weights, small_prior, settings=settings).task()
    images = to_tensor(task._held_out[:1]).expand(40, -1, -1, -1)
    levels = torch.arange(40) % task._codec.levels
    _, told = task._conditioned(images, levels)
    made = torch.rand(images.shape, generator=torch.Generator().manual_seed(2))
    finish = task._finish(told, torch.Generator().manual_seed(0))
    assert finish is not None
    assert told.auxiliary is not None
    finished = finish(made)
    windows = [window_at(level, task._codec.levels) for level in levels.tolist()]
    wanted = match_neighbourhoods(made, told.auxiliary, windows)
    untouched = (finished == made).all(dim=3).all(dim=2).all(dim=1)
    assert torch.equal(finished[~untouched], wanted[~untouched])
    assert float(untouched.float().mean()) == pytest.approx(0.4, abs=0.2)


def test_the_sketch_is_taken(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    shape = dataclasses.replace(CONTROL_PRESETS["micro"].shape, sketch=True)
    training = fusion_training(tmp_path, small_weights, small_prior, settings={"shape": shape})
    training.train(Budget(steps=3))
    task = training.task()
    state = load_state(tmp_path / "stage-2")
    assert state is not None
    before = task.model.state_dict()
    assert not torch.equal(before["adapter.sketch.weight"], state.tensors["model.adapter.sketch.weight"])
    # It is the auxiliary decoder's picture of the same latents, as the codec draws it.
    images, levels = to_tensor(training.recipe.crops.train[:2]), torch.tensor([0, 1])
    _, told = task._conditioned(images, levels)
    network = training.recipe.codec.hyperprior.network
    with torch.no_grad():
        wanted = training.recipe.codec.prior.encode(network.synthesis(told.latents, levels).clamp(-1, 1))
    torch.testing.assert_close(told.sketch, wanted)


def test_it_goes_on_from_an_exported_control(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    start = small_weights / "fusion" / "additive"
    training = fusion_training(tmp_path, small_weights, small_prior, "additive", start=start)
    weights = load_file(start / "model.safetensors")
    begun = training.task().model.state_dict()
    assert begun.keys() == weights.keys()
    assert all(torch.equal(begun[name], value.float()) for name, value in weights.items())
    with pytest.raises(TrainingError, match="another shape than the settings"):
        fusion_training(tmp_path, small_weights, small_prior, "attentive", start=start).task()


def test_it_goes_on_for_another_hyperprior(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path / "other", seed=3).train(Budget(steps=1))
    start = small_weights / "fusion" / "attentive"
    training = fusion_training(tmp_path / "f", tmp_path / "other" / "model", small_prior, start=start)
    training.train(Budget(steps=1))
    # What comes out names the hyperprior that it was trained for.
    config = json.loads((tmp_path / "f" / "model" / "fusion" / "attentive" / "config.json").read_text())
    assert config["hyperprior"] == training.recipe.codec.hyperprior.digest.hex()
    assert config["hyperprior"] != json.loads((start / "config.json").read_text())["hyperprior"]


@pytest.mark.parametrize(
    ("span", "message"),
    [(1.5, "span is 1.5: it must be above 0 and at most 1"), (0.005, "from 1 to 5 within a span of 0.005, not 10")],
)
def test_a_span_without_room_is_refused_at_once(
    small_weights: Path, small_prior: Path, tmp_path: Path, span: float, message: str
) -> None:
    def train() -> None:
        shape = dataclasses.replace(CONTROL_PRESETS["micro"].shape, span=span)
        fusion_training(tmp_path, small_weights, small_prior, settings={"shape": shape}).train(Budget(steps=1))

    with pytest.raises((PriorError, ValueError), match=message):
        train()


def test_it_learns_within_its_span(
    small_weights: Path, small_prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = dataclasses.replace(CONTROL_PRESETS["micro"].shape, span=0.3)
    settings = {"shape": shape, "pictures": PictureSettings(weight=1.0, begin=0.0, images=1, steps=(3,))}
    start = small_weights / "fusion" / "attentive"
    training = fusion_training(tmp_path, small_weights, small_prior, start=start, settings=settings)
    visited = set()
    denoise = training.recipe.codec.prior.denoise

    def watched(latents: torch.Tensor, timestep: torch.Tensor | int, *rest: Any) -> torch.Tensor:
        visited.update(torch.as_tensor(timestep).flatten().tolist())
        return denoise(latents, timestep, *rest)

    monkeypatch.setattr(training.recipe.codec.prior, "denoise", watched)
    training.train(Budget(steps=8))
    assert 700 <= min(visited) < 800
    assert max(visited) == 999
    held_out = [line for line in read_log(tmp_path / "stage-2") if line["kind"] == "held_out"][-1]
    assert {name for name in held_out if name.startswith("loss_")} == {f"loss_{t}" for t in (730, 790, 850, 910, 970)}
    config = json.loads((tmp_path / "model" / "fusion" / "attentive" / "config.json").read_text())
    assert config["shape"]["span"] == 0.3
