"""Stages 1 and 2 with an enhancer that is there: what it leaves of pictures is what is judged."""

import dataclasses
from pathlib import Path

import pytest
import torch

from rdcodecs.fusion.codec import FusionCodec, _Source
from rdcodecs.fusion.train.enhancement import Enhancement, read_enhancement
from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.model import Estimate
from rdcodecs.hyperprior.train.config import SketchSettings
from rdcodecs.hyperprior.train.sketch import SketchLoss
from rdcodecs.hyperprior.weights import load_hyperprior
from rdcodecs.pixels import to_tensor
from rdcodecs.prior import load
from rdcodecs.prior.train.walk import PictureSettings
from rdcodecs.training.errors import TrainingError
from rdcodecs.training.log import read_log
from rdcodecs.training.loop import Budget
from small_codecs import fusion_session, hyperprior_session, picture
from small_training import l2_distance


@pytest.fixture
def enhancement(small_weights: Path) -> Enhancement:
    config = load_hyperprior(small_weights / "hyperprior").config
    return read_enhancement(small_weights / "fusion" / "enhancer", config, torch.device("cpu"))


def test_it_is_what_the_codec_does(small_weights: Path, small_prior: Path, enhancement: Enhancement) -> None:
    bare, whole = (
        FusionCodec(weights=str(small_weights), prior=str(small_prior), renormalize=kind, device="cpu")  # type: ignore[arg-type]
        for kind in ("off", "learned")
    )
    source = _Source(bare.hyperprior.read(bare.encode(picture(70, 50), 1)), seed=3)
    drawn = bare._draw(bare.prior, [source], 2)
    auxiliary = bare.hyperprior.draw([source.stored])
    made = enhancement(drawn, auxiliary, source.stored.latents[None], torch.tensor([source.stored.level]))
    torch.testing.assert_close(made, whole._draw(whole.prior, [source], 2), rtol=0, atol=1e-5)
    assert (made - drawn).abs().max() > 1e-2
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


def test_the_encoder_learns_for_it_and_it_stays(small_prior: Path, tmp_path: Path, enhancement: Enhancement) -> None:
    session = hyperprior_session(tmp_path, prior=small_prior, settings={"fitted_from": 1}, log_steps=1)
    before = {name: value.clone() for name, value in enhancement._enhancer.state_dict().items()}
    changed = []
    for enhance in (None, enhancement):
        task = dataclasses.replace(session, enhance=enhance)._task()
        task.step(0, 0.5)
        changed.append(task.model.analysis.stem[1].weight.detach().clone())
    # The same seed, crop, level and noise.
    assert not torch.allclose(*changed, rtol=0, atol=1e-6)
    dataclasses.replace(session, enhance=enhancement).train(Budget(steps=3))
    assert all(torch.equal(value, before[name]) for name, value in enhancement._enhancer.state_dict().items())
    assert {"sketch_0", "sketch_l1_1"} <= read_log(tmp_path / "stage-1")[-1].keys()
    codec = HyperpriorCodec(weights=str(tmp_path / "model"), device="cpu")
    assert codec.decode(codec.encode(picture(50, 70), 1)).shape == (50, 70, 3)
    with pytest.raises(TrainingError, match="begun with different enhancer"):
        session.train(Budget(steps=4))


def test_a_control_learns_for_it_and_it_stays(
    small_weights: Path, small_prior: Path, tmp_path: Path, enhancement: Enhancement
) -> None:
    pictures = PictureSettings(weight=1.0, begin=0.0, images=2, steps=(2,))
    settings = {"pictures": pictures, "renormalized": 1.0}
    session = fusion_session(tmp_path, small_weights, small_prior, settings=settings, log_steps=1)
    enhanced = dataclasses.replace(session, enhancement=enhancement)
    task = enhanced._task()
    levels = torch.arange(4) % 2
    _, coded = task._coded(to_tensor(task._held_out[:1]).expand(4, -1, -1, -1), levels)
    assert coded.auxiliary is not None
    made = torch.rand(coded.auxiliary.shape, generator=torch.Generator().manual_seed(2))
    finish = task._finish(coded, torch.Generator().manual_seed(0))
    assert finish is not None
    assert torch.equal(finish(made), enhancement(made, coded.auxiliary, coded.latents, levels))
    before = {name: value.clone() for name, value in enhancement._enhancer.state_dict().items()}
    enhanced.train(Budget(steps=2))
    assert all(torch.equal(value, before[name]) for name, value in enhancement._enhancer.state_dict().items())
    with pytest.raises(TrainingError, match="begun with different enhancer"):
        session.train(Budget(steps=3))


@pytest.mark.parametrize("off", [{"renormalized": 0.0}, {"pictures": PictureSettings(weight=0.0)}])
def test_a_control_that_nothing_would_be_enhanced_for_is_refused(
    small_weights: Path, small_prior: Path, tmp_path: Path, enhancement: Enhancement, off: dict[str, object]
) -> None:
    settings = {"pictures": PictureSettings(weight=1.0), "renormalized": 1.0} | off
    session = fusion_session(tmp_path, small_weights, small_prior, settings=settings)
    with pytest.raises(TrainingError, match=r"give pictures\.weight and renormalized a value above 0, or name none"):
        dataclasses.replace(session, enhancement=enhancement)._task()
