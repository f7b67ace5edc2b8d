"""The enhancer: the network, its files, its training."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rdcodecs.codec import CodecError
from rdcodecs.fusion import enhancer as module
from rdcodecs.fusion.codec import FusionCodec
from rdcodecs.fusion.enhancer import Enhancer, EnhancerConfig, enhance
from rdcodecs.fusion.weights import load_enhancer
from rdcodecs.pixels import to_images, to_tensor
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget, Outcome, Report
from rdtrain.core.state import load_state
from small_codecs import enhancer_training
from small_training import changed

CHANNELS, LEVELS = 5, 4


def trained(blocks: int = 3, coarse: int = 6) -> Enhancer:
    """An enhancer that does something."""
    torch.manual_seed(0)
    network = Enhancer(EnhancerConfig(fine=8, wide=12, blocks=blocks, coarse=coarse), CHANNELS, LEVELS).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn(value.shape))
    return network


def inputs(height: int, width: int) -> list[torch.Tensor]:
    """Two pictures and latents."""
    generator = torch.Generator().manual_seed(height)
    shapes = (3, height, width), (3, height, width), (CHANNELS, -(-height // 16), -(-width // 16))
    return [torch.rand(1, *shape, generator=generator) * 2 - 1 for shape in shapes]


def test_untrained_it_changes_nothing() -> None:
    seen = inputs(20, 24)
    network = Enhancer(EnhancerConfig(fine=8, wide=8, blocks=1, coarse=8), CHANNELS, LEVELS)
    assert torch.equal(network(*seen, torch.tensor([1])), seen[0])


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 96), (43, 6)])
def test_every_size_keeps_its_shape(size: tuple[int, int]) -> None:
    made, auxiliary, latents = inputs(*size)
    network = trained()
    changed = network(made, auxiliary, latents, torch.tensor([1]))
    assert changed.shape == made.shape
    assert not torch.equal(changed, made)
    # Rate, auxiliary picture and latents are seen.
    assert not torch.equal(changed, network(made, auxiliary, latents, torch.tensor([2])))
    assert not torch.equal(changed, network(made, auxiliary.flip(1), latents, torch.tensor([1])))
    assert not torch.equal(changed, network(made, auxiliary, latents.flip(1), torch.tensor([1])))


@torch.no_grad()
@pytest.mark.parametrize("coarse", [0, 6])
@pytest.mark.parametrize("blocks", [1, 3, 7])
def test_strips_make_the_same_picture(monkeypatch: pytest.MonkeyPatch, blocks: int, coarse: int) -> None:
    seen = inputs(211, 40)
    network, level = trained(blocks, coarse), torch.tensor([3])
    whole = network(*seen, level)
    monkeypatch.setattr(module, "_AREA", 40 * 32)
    torch.testing.assert_close(enhance(network, *seen, level), whole, rtol=1e-5, atol=1e-5)
    # And not by chance: with less it is another picture near the seams.
    monkeypatch.setattr(EnhancerConfig, "reach", 8)
    assert (enhance(network, *seen, level) - whole).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 4])
def test_it_reaches_as_far_as_it_says(blocks: int) -> None:
    made, auxiliary, latents = (part.double() for part in inputs(160, 8))
    network, level = trained(blocks, coarse=0).double(), torch.tensor([0])
    reach, row = network.config.reach, 80  # the first row of a place of the coarsest features
    before = network(made, auxiliary, latents, level)[:, :, row]
    changes = []
    for away in (reach, reach + 1):
        changed = auxiliary.clone()
        changed[:, :, : row - away + 1] += 5
        changes.append(bool((network(made, changed, latents, level)[:, :, row] != before).any()))
    assert changes == [True, False]


@torch.no_grad()
def test_one_without_an_eye_for_latents_does_not_see_them() -> None:
    made, auxiliary, latents = inputs(48, 32)
    network, level = trained(coarse=0), torch.tensor([1])
    assert torch.equal(network(made, auxiliary, latents, level), network(made, auxiliary, latents.flip(1), level))


def test_it_learns_and_nothing_else_moves(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    training = enhancer_training(tmp_path, small_weights, small_prior, log_steps=1)
    codec = training.recipe.codec
    frozen = [codec.prior.vae, codec.prior.unet, codec.hyperprior.network, *training.recipe.controls.values()]
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in frozen]
    training.train(Budget(steps=40))
    for network, values in zip(frozen, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in network.state_dict().items())
    held_out = [line for line in read_log(tmp_path / "stage-3") if line["kind"] == "held_out"][-1]
    # An untrained prior's pictures are far off: whatever it learns is better.
    assert held_out["loss"] < 0.98 * held_out["unenhanced_loss"]
    parts = sum(held_out[name] for name in ("l1", "perceptual", "ms_ssim"))
    assert held_out["loss"] == pytest.approx(parts, rel=1e-5)


def test_it_sees_what_the_codec_draws(
    small_weights: Path, small_prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = enhancer_training(tmp_path, small_weights, small_prior)
    task = training.task()
    image = task._held_out[0].numpy()
    drawn = []
    for kind, control in training.recipe.controls.items():
        made, _, latents = task._drawn(
            control, to_tensor(image), torch.tensor([1]), 2, torch.Generator().manual_seed(1)
        )
        codec = FusionCodec(
            weights=str(small_weights), prior=str(small_prior), fusion=kind, renormalize="local", device="cpu"
        )
        noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
        monkeypatch.setattr(codec.prior, "noise", lambda *_, same=noise: same)
        data = codec.encode(image, 1)
        np.testing.assert_array_equal(to_images(made)[0], codec.decode(data, steps=2))
        assert torch.equal(latents[0], codec.hyperprior.read(data).latents)
        drawn.append(made)
    assert not torch.equal(*drawn)


def test_a_resumed_training_is_exact(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    def stop(report: Report) -> None:
        if report.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    enhancer_training(tmp_path / "whole", small_weights, small_prior).train(Budget(steps=6))
    first = enhancer_training(tmp_path / "halves", small_weights, small_prior, log_steps=1, report=stop)
    assert first.train(Budget(steps=6)) is Outcome.INTERRUPTED
    assert enhancer_training(tmp_path / "halves", small_weights, small_prior).train(Budget(steps=6)) is Outcome.FINISHED
    states = [load_state(tmp_path / name / "stage-3") for name in ("whole", "halves")]
    assert states[0] is not None
    assert states[1] is not None
    assert states[0].step == states[1].step == 6
    assert all(torch.equal(value, states[1].tensors[name]) for name, value in states[0].tensors.items())


def test_it_goes_on_from_one_that_is_there(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    start = small_weights / "fusion" / "enhancer"
    begun = enhancer_training(tmp_path, small_weights, small_prior, start=start).task().model.state_dict()
    weights = load_file(start / "model.safetensors")
    assert all(torch.equal(begun[name], value.float()) for name, value in weights.items())
    shape = EnhancerConfig(fine=12, wide=8, blocks=1, coarse=8)
    with pytest.raises(TrainingError, match="another shape than the settings"):
        enhancer_training(tmp_path, small_weights, small_prior, {"shape": shape}, start=start).task()


def test_it_grows_an_eye_for_latents(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    shape = EnhancerConfig(fine=8, wide=8, blocks=1)
    training = enhancer_training(tmp_path, small_weights, small_prior, {"shape": shape})
    training.train(Budget(steps=3))
    start = tmp_path / "model" / "fusion" / "enhancer"
    grown = enhancer_training(tmp_path / "grown", small_weights, small_prior, start=start).task().model
    known, _ = load_enhancer(start.parent, training.recipe.codec.prior, training.recipe.codec.hyperprior)
    made, auxiliary, _ = inputs(64, 48)
    latents, level = torch.rand(1, training.recipe.codec.hyperprior.config.latent_channels, 4, 3), torch.tensor([1])
    assert (known.config.coarse, grown.config.coarse) == (0, 8)
    assert torch.equal(grown(made, auxiliary, latents, level), known(made, auxiliary, latents, level))
    # What it sees already is not taken from it.
    seeing = small_weights / "fusion" / "enhancer"
    with pytest.raises(TrainingError, match="another shape than the settings"):
        enhancer_training(tmp_path / "shrunk", small_weights, small_prior, {"shape": shape}, start=seeing).task()


def test_a_state_of_other_controls_is_refused(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    training = enhancer_training(tmp_path, small_weights, small_prior)
    training.train(Budget(steps=1))
    fewer = {"attentive": training.recipe.controls["attentive"]}
    with pytest.raises(TrainingError, match="begun with different controls"):
        changed(training, controls=fewer).train(Budget(steps=2))


def test_weights_without_controls_cannot_be_enhanced(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    shutil.copytree(small_weights / "hyperprior", tmp_path / "hyperprior")
    with pytest.raises(TrainingError, match="holds no control: train stage 2 first"):
        enhancer_training(tmp_path / "out", tmp_path, small_prior)


def test_what_is_exported_is_read_again_and_named(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    training = enhancer_training(tmp_path, small_weights, small_prior)
    training.train(Budget(steps=2))
    folder = tmp_path / "model" / "fusion" / "enhancer"
    state = load_state(tmp_path / "stage-3")
    assert state is not None
    network, digest = load_enhancer(folder.parent, training.recipe.codec.prior, training.recipe.codec.hyperprior)
    assert len(digest) == 64
    for name, value in network.state_dict().items():
        assert torch.equal(value, state.tensors[f"average.{name}"].half().float())
    assert "unenhanced" in (folder / "README.md").read_text(encoding="utf-8")
    # The codec takes the folder as its weights: all that it needs has come along.
    assert (tmp_path / "model" / "hyperprior" / "config.json").is_file()
    assert (tmp_path / "model" / "fusion" / "additive" / "config.json").is_file()

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for part in ("hyperprior", "autoencoder"):
        (folder / "config.json").write_text(json.dumps({**config, part: "0" * 64}), encoding="utf-8")
        with pytest.raises(CodecError, match="trained for another hyperprior or autoencoder: train stage 3 again"):
            load_enhancer(folder.parent, training.recipe.codec.prior, training.recipe.codec.hyperprior)
    (folder / "config.json").write_text(json.dumps({**config, "format": 2}), encoding="utf-8")
    with pytest.raises(CodecError, match="cannot be used: it is of a format that this version does not read"):
        load_enhancer(folder.parent, training.recipe.codec.prior, training.recipe.codec.hyperprior)


def test_no_step_is_looked_at_twice(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    enhancer_training(tmp_path, small_weights, small_prior, look_seconds=-1).train(Budget(steps=2))
    assert [line["step"] for line in read_log(tmp_path / "stage-3") if line["kind"] == "held_out"] == [1, 2]
