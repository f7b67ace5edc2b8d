"""Stages 1 and 2 with an enhancer that is there: what it leaves of pictures is what is judged."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from rdcodecs.codec import CodecError
from rdcodecs.fusion.codec import FusionCodec, _Source
from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.model import Estimate
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.pixels import to_tensor
from rdcodecs.prior import load
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget
from rdtrain.core.recipe import Training
from rdtrain.fusion.enhancement import Enhancement, read_enhancement
from rdtrain.hyperprior.settings import SketchSettings
from rdtrain.hyperprior.sketch_loss import SketchLoss
from rdtrain.hyperprior.task import HyperpriorTask
from rdtrain.prior.trajectory import PictureSettings
from small_codecs import fusion_training, hyperprior_training, picture
from small_training import changed, l2_distance


@pytest.fixture
def enhancement(small_weights: Path, small_prior: Path) -> Enhancement:
    config = load_hyperprior(small_weights / "hyperprior").config
    return read_enhancement(small_weights / "fusion" / "enhancer", load(small_prior), config)


def test_it_is_what_the_codec_does(small_weights: Path, small_prior: Path, enhancement: Enhancement) -> None:
    bare, whole = (
        FusionCodec(weights=str(small_weights), prior=str(small_prior), renormalize=kind, device="cpu")  # type: ignore[arg-type]
        for kind in ("off", "learned")
    )
    source = _Source(bare.hyperprior.read(bare.encode(picture(70, 50), 1)), seed=3)
    drawn = bare._draw(bare.prior, [source], 2)
    auxiliary = bare.hyperprior.draw([source.stored])
    latents, levels = source.stored.latents[None], torch.tensor([source.stored.level])
    made = enhancement(drawn, auxiliary, latents, levels)
    torch.testing.assert_close(made, whole._draw(whole.prior, [source], 2), rtol=0, atol=1e-5)
    # Each of the three counts.
    for other in ((drawn.flip(1), auxiliary, latents), (drawn, drawn, latents), (drawn, auxiliary, 0 * latents)):
        assert (enhancement(*other, levels) - made).abs().max() > 1e-3
    assert enhancement.digest == whole.fingerprint()["enhancer"]


def test_sketches_are_judged_as_it_leaves_them(small_prior: Path, enhancement: Enhancement) -> None:
    prior = load(small_prior, dtype=torch.float32)
    images = torch.stack([to_tensor(picture(64, 64, seed))[0] for seed in range(3)])
    levels, weights = torch.tensor([0, 1, 1]), torch.tensor([1.0, 3.0, 10.0])
    estimate = Estimate(images.flip(3), torch.zeros(3), torch.randn(3, 8, 4, 4))
    sketches = prior.encode(images)
    loss = SketchLoss(SketchSettings(images=2), prior, l2_distance, enhancement)
    found, _ = loss(sketches, estimate, images, levels, weights, step=1)
    with torch.no_grad():
        made = enhancement(prior.decode(sketches, (64, 64)), estimate.images, estimate.latents, levels)
    apart = l2_distance(made, images) + (made - images).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, (weights * apart)[[2, 0]].mean())
    torch.testing.assert_close(loss.distances(sketches, estimate, images, levels)[0], l2_distance(made, images))


def test_all_that_it_sees_has_a_gradient_and_it_has_none(enhancement: Enhancement) -> None:
    shapes = (1, 3, 48, 32), (1, 3, 48, 32), (1, 8, 3, 2)
    seen = [torch.rand(shape, generator=torch.Generator().manual_seed(4)).requires_grad_() for shape in shapes]
    enhancement(*seen, torch.tensor([1])).square().sum().backward()
    assert all(part.grad is not None and part.grad.abs().max() > 0 for part in seen)
    assert all(parameter.grad is None for parameter in enhancement._enhancer.parameters())


def test_the_encoder_learns_for_it_and_it_stays(small_prior: Path, tmp_path: Path, enhancement: Enhancement) -> None:
    # The latents' bits and errors as good as left out: what moves the encoder is the picture.
    settings = {
        "fitted_from": 1,
        "sketch": SketchSettings(weight_low=1e4, weight_high=1e4, latent_weight=0, images=2),
    }
    training = hyperprior_training(tmp_path, prior=small_prior, settings=settings, log_steps=1)
    enhanced = changed(training, enhancement=enhancement)
    before = {name: value.clone() for name, value in enhancement._enhancer.state_dict().items()}
    first, later = (enhanced.task().step(0, 0.5) for _ in range(2))
    assert first["gradient"] == later["gradient"] > 100 * training_gradient(training, weight=1e-9)
    enhanced.train(Budget(steps=3))
    assert all(torch.equal(value, before[name]) for name, value in enhancement._enhancer.state_dict().items())
    assert {"sketch_0", "sketch_l1_1"} <= read_log(tmp_path / "stage-1")[-1].keys()
    card = (tmp_path / "model" / "hyperprior" / "README.md").read_text(encoding="utf-8")
    assert enhancement.digest in card
    codec = HyperpriorCodec(weights=str(tmp_path / "model"), device="cpu")
    assert codec.decode(codec.encode(picture(50, 70), 1)).shape == (50, 70, 3)
    with pytest.raises(TrainingError, match="begun with different enhancer"):
        training.train(Budget(steps=4))


def training_gradient(training: Training[HyperpriorTask], weight: float) -> float:
    sketch = SketchSettings(weight_low=weight, weight_high=weight, latent_weight=0)
    config = dataclasses.replace(training.recipe.config, sketch=sketch)
    return float(changed(training, config=config).task().step(0, 0.5)["gradient"])


@pytest.mark.parametrize("off", [{"fitted_from": 0.0}, {"sketch": SketchSettings(images=0)}])
def test_an_encoder_that_nothing_would_be_enhanced_for_is_refused(
    small_prior: Path, tmp_path: Path, enhancement: Enhancement, off: dict[str, object]
) -> None:
    training = hyperprior_training(tmp_path, prior=small_prior, settings=off)
    with pytest.raises(TrainingError, match=r"name a prior, with sketch\.images and fitted_from above 0"):
        changed(training, enhancement=enhancement).task()
    with pytest.raises(TrainingError, match="name a prior"):
        changed(hyperprior_training(tmp_path), enhancement=enhancement).task()


def test_what_does_not_fit_is_refused(small_weights: Path, small_prior: Path, tmp_path: Path) -> None:
    prior, config = load(small_prior), load_hyperprior(small_weights / "hyperprior").config
    folder = Path(shutil.copytree(small_weights / "fusion" / "enhancer", tmp_path / "enhancer"))
    with pytest.raises(CodecError, match=r"of shape \(2, 8\), not \(3, 8\): it does not belong to its config"):
        read_enhancement(folder, prior, dataclasses.replace(config, levels=3))
    named = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**named, "autoencoder": "0" * 64}), encoding="utf-8")
    with pytest.raises(TrainingError, match="trained for another autoencoder than that of"):
        read_enhancement(folder, prior, config)


def test_a_control_learns_for_it_and_it_stays(
    small_weights: Path, small_prior: Path, tmp_path: Path, enhancement: Enhancement
) -> None:
    pictures = PictureSettings(weight=1.0, begin=0.0, images=2, steps=(2,))
    settings = {"pictures": pictures, "renormalized": 1.0}
    training = fusion_training(tmp_path, small_weights, small_prior, settings=settings, log_steps=1)
    enhanced = changed(training, enhancement=enhancement)
    task = enhanced.task()
    levels = torch.arange(4) % 2
    _, told = task._conditioned(to_tensor(task._held_out[:1]).expand(4, -1, -1, -1), levels)
    assert told.auxiliary is not None
    made = torch.rand(told.auxiliary.shape, generator=torch.Generator().manual_seed(2)).requires_grad_()
    finish = task._finish(told, torch.Generator().manual_seed(0))
    assert finish is not None
    finished = finish(made)
    assert torch.equal(finished, enhancement(made, told.auxiliary, told.latents, levels))
    finished.square().sum().backward()
    assert made.grad is not None
    assert made.grad.abs().max() > 0
    before = {name: value.clone() for name, value in enhancement._enhancer.state_dict().items()}
    enhanced.train(Budget(steps=2))
    assert all(torch.equal(value, before[name]) for name, value in enhancement._enhancer.state_dict().items())
    with pytest.raises(TrainingError, match="begun with different enhancer"):
        training.train(Budget(steps=3))


@pytest.mark.parametrize(
    "off",
    [{"renormalized": 0.0}, {"pictures": PictureSettings()}, {"pictures": PictureSettings(weight=1.0, begin=1.0)}],
)
def test_a_control_that_nothing_would_be_enhanced_for_is_refused(
    small_weights: Path, small_prior: Path, tmp_path: Path, enhancement: Enhancement, off: dict[str, object]
) -> None:
    settings = {"pictures": PictureSettings(weight=1.0), "renormalized": 1.0} | off
    training = fusion_training(tmp_path, small_weights, small_prior, settings=settings)
    with pytest.raises(TrainingError, match=r"set pictures\.weight and renormalized above 0"):
        changed(training, enhancement=enhancement).task()
