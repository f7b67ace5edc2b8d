"""Stage 1 with a prior: a decoder of sketches, and an encoder that is also judged by them."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from rdcodecs.hyperprior.codec import HyperpriorCodec
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.hyperprior.model import Estimate
from rdcodecs.hyperprior.transforms import SketchDecoder
from rdcodecs.hyperprior.weights import load_hyperprior, trainable_hyperprior
from rdcodecs.pixels import to_tensor
from rdcodecs.prior import load
from rdcodecs.prior.autoencoders import latent_space_digest
from rdtrain.core.errors import TrainingError
from rdtrain.core.log import read_log
from rdtrain.core.loop import Budget
from rdtrain.core.picture_distance import ms_ssim_loss
from rdtrain.core.state import load_state
from rdtrain.hyperprior.settings import HyperpriorTrainConfig, SketchSettings
from rdtrain.hyperprior.sketch_loss import SketchLoss
from rdtrain.hyperprior.sketches import DecodedSketches
from small_codecs import hyperprior_training, picture
from small_training import changed, l2_distance


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_a_sketch_has_the_size_of_the_prior_s_latent(stride: int) -> None:
    config = HyperpriorConfig(widths=(8, 8, 8), latent_channels=8, sketch_channels=4, sketch_stride=stride)
    made = SketchDecoder(config)(torch.zeros(2, 8, 3, 5), torch.tensor([0, 7]))
    assert made.shape == (2, 4, 48 // stride, 80 // stride)


def test_a_stride_without_a_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="sketch_stride of 6 is not 4, 8 or 16"):
        HyperpriorConfig(sketch_stride=6)


def test_a_shape_without_sketches_is_written_as_before() -> None:
    # What is written decides a model's digest, and with it which streams it reads.
    assert not [name for name in HyperpriorConfig().as_dict() if name.startswith("sketch")]
    assert "context_width" not in HyperpriorConfig().as_dict()
    assert HyperpriorConfig(sketch_channels=4).as_dict()["sketch_stride"] == 8
    assert "sketch_blocks" not in HyperpriorConfig(sketch_channels=4).as_dict()
    assert HyperpriorConfig(sketch_channels=4, sketch_blocks=3).as_dict()["sketch_blocks"] == 3


def test_weights_of_sketches_are_in_geometric_progression() -> None:
    config = HyperpriorTrainConfig(sketch=SketchSettings(weight_low=0.1, weight_high=1.6))
    weights = config.sketch_weights
    assert weights[0] == pytest.approx(0.1)
    assert weights[-1] == pytest.approx(1.6)
    assert weights[3] ** 2 == pytest.approx(weights[2] * weights[4])


def test_true_latents_are_as_far_off_as_the_autoencoder(small_prior: Path) -> None:
    prior = load(small_prior, dtype=torch.float32)
    images = torch.stack([to_tensor(picture(64, 64, seed))[0] for seed in range(3)])
    latents = prior.encode(images)
    loss = SketchLoss(SketchSettings(latent_weight=2.0, pixel_weight=0.5, images=2), prior, l2_distance)
    with torch.no_grad():
        rebuilt = prior.decode(latents, (64, 64))
    weights = torch.tensor([1.0, 3.0, 10.0])
    # Step 1 judges the third image and the first. Larger sketches are cut: images are padded to whole samples of y.
    larger = torch.nn.functional.pad(latents, (0, 1, 0, 1))
    estimate, levels = Estimate(images, torch.zeros(3), torch.zeros(3, 8, 4, 4)), torch.zeros(3, dtype=torch.long)
    found, shown = loss(larger, estimate, images, levels, weights, step=1)
    apart = l2_distance(rebuilt, images) + 0.5 * (rebuilt - images).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, (weights * apart)[[2, 0]].mean())
    assert float(shown["latent"]) == 0
    # MS-SSIM besides.
    settings = SketchSettings(latent_weight=2.0, pixel_weight=0.5, images=2, ms_ssim_weight=0.25)
    structured, _ = SketchLoss(settings, prior, l2_distance)(latents, estimate, images, levels, weights, step=1)
    apart = apart + 0.25 * ms_ssim_loss(rebuilt, images)
    torch.testing.assert_close(structured, (weights * apart)[[2, 0]].mean())
    # A latent that is off by 0.1 everywhere costs its square besides.
    blind = SketchLoss(SketchSettings(latent_weight=2.0, images=0), prior)
    off, _ = blind(latents + 0.1, estimate, images, levels, weights, step=1)
    torch.testing.assert_close(off, 2 * 0.01 * weights.mean())


def test_encoder_and_sketches_learn_and_the_prior_stays(small_prior: Path, tmp_path: Path) -> None:
    # The latents of an untrained prior are small: their error counts for much.
    sketch = SketchSettings(weight_low=1, weight_high=1, latent_weight=1000, images=1)
    settings = {"sketch": sketch, "fitted_from": 1}
    training = hyperprior_training(tmp_path, prior=small_prior, settings=settings, log_steps=1)
    assert training.recipe.prior is not None
    before = {name: value.clone() for name, value in training.recipe.prior.vae.state_dict().items()}
    fresh = training.task().model.state_dict()
    training.train(Budget(steps=40))
    assert all(torch.equal(value, before[name]) for name, value in training.recipe.prior.vae.state_dict().items())
    state = load_state(tmp_path / "stage-1")
    assert state is not None
    for name in ("sketch.tail.weight", "sketch.head.weight", "analysis.head.weight"):
        assert not torch.equal(fresh[name], state.tensors[f"model.{name}"]), name
    log = read_log(tmp_path / "stage-1")
    errors = [line["latent"] for line in log if line["kind"] == "train"]
    assert sum(errors[-10:]) < 0.9 * sum(errors[:10])
    assert {"sketch_0", "sketch_1", "sketch_l1_0"} <= log[-1].keys()
    # What comes out says which autoencoder its sketches are for, and is a codec as without them.
    trained = load_hyperprior(tmp_path / "model" / "hyperprior")
    assert trained.sketch_prior == latent_space_digest(training.recipe.prior.vae)
    codec = HyperpriorCodec(weights=str(tmp_path / "model"), device="cpu")
    assert codec.decode(codec.encode(picture(50, 70), 1)).shape == (50, 70, 3)


def test_the_encoder_is_judged_by_sketches(small_prior: Path, tmp_path: Path) -> None:
    def first_layer(weight: float) -> torch.Tensor:
        settings = {"sketch": SketchSettings(weight_low=weight, weight_high=weight)}
        task = hyperprior_training(tmp_path, prior=small_prior, settings=settings).task()
        task.step(0, 0.5)
        return task.model.analysis.stem[1].weight.detach().clone()

    # The same seed, crop, level and noise: what differs is what sketches weigh.
    assert torch.equal(first_layer(1e-9), first_layer(1e-9))
    assert not torch.allclose(first_layer(1e-9), first_layer(1e4), rtol=0, atol=1e-6)


def test_sketches_are_added_to_a_model_that_draws_none(small_prior: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path / "plain").train(Budget(steps=3))
    start = tmp_path / "plain" / "model" / "hyperprior"
    training = hyperprior_training(tmp_path / "sketched", prior=small_prior, start=start)
    begun, plain = training.task().model, load_hyperprior(start).network
    for name, value in plain.analysis.state_dict().items():
        assert torch.equal(value, begun.analysis.state_dict()[name]), name
    training.train(Budget(steps=2))
    # And kept by one that goes on from there.
    start = tmp_path / "sketched" / "model" / "hyperprior"
    kept = load_hyperprior(start).network.sketch
    again = hyperprior_training(tmp_path / "on", prior=small_prior, start=start).task().model.sketch
    assert kept is not None
    assert again is not None
    assert torch.equal(kept.tail.weight, again.tail.weight)


def test_a_training_without_a_prior_leaves_the_sketch_decoder_out(small_prior: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path / "with", prior=small_prior).train(Budget(steps=1))
    start = tmp_path / "with" / "model" / "hyperprior"
    plain = hyperprior_training(tmp_path / "without", start=start).task().model
    assert plain.sketch is None
    assert torch.equal(
        plain.synthesis.head.weight, trainable_hyperprior(start, load_hyperprior(start).config).synthesis.head.weight
    )


def test_blocks_that_are_added_change_nothing_before_training(small_prior: Path, tmp_path: Path) -> None:
    hyperprior_training(tmp_path / "one", prior=small_prior).train(Budget(steps=2))
    start = tmp_path / "one" / "model" / "hyperprior"
    config = load_hyperprior(start).config
    before = trainable_hyperprior(start, config)
    after = trainable_hyperprior(start, dataclasses.replace(config, sketch_blocks=3))
    assert before.sketch is not None
    assert after.sketch is not None
    latents, levels = torch.randn(2, config.latent_channels, 3, 5), torch.tensor([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(after.sketch(latents, levels), before.sketch(latents, levels))
    deep = dataclasses.replace(config, sketch_blocks=2)
    hyperprior_training(tmp_path / "two", prior=small_prior, start=start, settings={"model": deep}).train(
        Budget(steps=2)
    )
    kept = tmp_path / "two" / "model" / "hyperprior"
    assert load_hyperprior(kept).config.sketch_blocks == 2
    with pytest.raises(ValueError, match="another shape"):
        trainable_hyperprior(kept, config)


def test_another_prior_is_refused(small_prior: Path, tmp_path: Path) -> None:
    training = hyperprior_training(tmp_path, prior=small_prior)
    shape = dataclasses.replace(training.recipe.config.model, sketch_channels=7)
    wrong = changed(training, config=dataclasses.replace(training.recipe.config, model=shape))
    with pytest.raises(TrainingError, match=r"need model\.sketch_channels=4 and model\.sketch_stride="):
        wrong.task()
    with pytest.raises(TrainingError, match="go together"):
        changed(training, prior=None).task()


def test_the_digest_covers_the_sketch_s_prior(small_prior: Path, tmp_path: Path) -> None:
    training = hyperprior_training(tmp_path, prior=small_prior)
    training.train(Budget(steps=1))
    path = tmp_path / "model" / "hyperprior" / "config.json"
    digest = load_hyperprior(path.parent).digest
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"sketch_prior": "0" * 64}))
    # Whose sketches they are decides what is drawn: the model is another.
    assert load_hyperprior(path.parent).digest != digest


def test_decoded_sketches_are_those_that_a_stream_gives(small_prior: Path, tmp_path: Path) -> None:
    training = hyperprior_training(tmp_path, prior=small_prior)
    training.train(Budget(steps=5))
    codec = HyperpriorCodec(weights=str(tmp_path / "model"), device="cpu")
    assert codec.model.network.sketch is not None
    pictures = [picture(64, 64, seed) for seed in range(6)]
    found = DecodedSketches(codec.model)(
        torch.cat([to_tensor(item) for item in pictures]), torch.Generator().manual_seed(1)
    )
    seen = set()
    for number, item in enumerate(pictures):
        drawn = []
        for level in range(codec.model.config.levels):
            latents = codec.read(codec.encode(item, level)).latents[None]
            drawn.append(codec.model.network.sketch(latents, torch.tensor([level]))[0])
        apart = [float((found[number] - other).abs().max()) for other in drawn]
        assert min(apart) < 1e-4
        seen.add(apart.index(min(apart)))
    assert len(seen) > 1  # the rates are drawn


def test_a_hyperprior_without_sketches_is_refused(tmp_path: Path) -> None:
    hyperprior_training(tmp_path).train(Budget(steps=1))
    with pytest.raises(ValueError, match="draws no sketches"):
        DecodedSketches(load_hyperprior(tmp_path / "model" / "hyperprior"))
