"""The training as a whole."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import small_training
from rdcodecs.prior import load
from rdcodecs.prior.autoencoders import modes
from rdcodecs.prior.load import load_network
from rdtrain.core.errors import TrainingError
from rdtrain.core.loop import Budget, Outcome, Report, Rhythm
from rdtrain.core.record import CARD
from rdtrain.core.settings import keep_settings, settle
from rdtrain.core.state import latest_state, load_state
from rdtrain.prior.autoencoder import Sketches
from rdtrain.prior.card import write_card
from rdtrain.prior.samples import sample_sheet
from small_models import DEEP
from small_training import CONFIG, PriorTrainings, prior_trainings, small_crops


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    state = load_state(folder)
    assert state is not None
    return dict(state.tensors)


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = tensors_of(one), tensors_of(other)
    assert ours.keys() == theirs.keys()
    different = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert not different


def test_the_model_is_loaded_by_name_and_by_plain_diffusers(trained: PriorTrainings) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    vae = AutoencoderKL.from_pretrained(trained.run.model / "vae", low_cpu_mem_usage=False)
    unet = UNet2DConditionModel.from_pretrained(trained.run.model / "unet", low_cpu_mem_usage=False)
    scheduler = DDIMScheduler.from_pretrained(trained.run.model / "scheduler")
    assert scheduler.config.prediction_type == "v_prediction"
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6  # the last level is pure noise
    prior = load(trained.run.model, device="cpu")
    noise = prior.noise((32, 32), [0])
    with torch.no_grad():
        mine = prior.denoise(noise, 400)
        theirs = unet(noise, 400, encoder_hidden_states=torch.zeros(1, 1, 8)).sample
        torch.testing.assert_close(mine, theirs)
        torch.testing.assert_close(prior.decode(noise), vae.decode(noise).sample)
    for path in trained.run.model.rglob("*.safetensors"):
        assert {value.dtype for value in load_file(path).values()} == {torch.float16}
    assert not [path for path in trained.run.model.rglob("*") if path.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]


def test_latents_are_white_on_the_training_images(trained: PriorTrainings) -> None:
    prior = load(trained.run.model, device="cpu")
    with torch.inference_mode():
        latents = prior.encode(trained.vae.recipe.crops.train.numpy())
    assert float((latents.std(dim=(0, 2, 3)) - 1).abs().max()) < 0.05
    assert float(latents.mean(dim=(0, 2, 3)).abs().max()) < 0.05


def test_it_learns(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, autoencoder=dataclasses.replace(CONFIG.autoencoder, adversarial_weight=0.0))
    training = prior_trainings(tmp_path, config)
    training.vae.train(Budget(steps=150))
    lines = [json.loads(line) for line in (tmp_path / "vae" / "log.jsonl").read_text().splitlines()]
    losses = [line["l1"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < 0.5 * losses[0]


def test_phases_come_in_their_order(trained: PriorTrainings) -> None:
    lines = [json.loads(line) for line in (trained.run.out / "vae" / "log.jsonl").read_text().splitlines()]
    train = {line["step"]: line for line in lines if line["kind"] == "train"}
    assert sorted(train) == [2, 4, 6, 8, 10, 12]
    # Of 12 steps: perceptual from 0.35, adversarial from 0.7.
    assert ["perceptual" in train[step] for step in sorted(train)] == [False, False, True, True, True, True]
    assert ["discriminator" in train[step] for step in sorted(train)] == [False, False, False, False, True, True]
    (held_out,) = [line for line in lines if line["kind"] == "held_out"]
    assert {"psnr", "l1", "perceptual", "latent_std_0", "latent_std_3"} <= held_out.keys()


def test_the_late_phase_leaves_the_encoder_alone(tmp_path: Path) -> None:
    training = prior_trainings(tmp_path, rhythm=Rhythm(log_steps=100, look_seconds=1e9, save_seconds=0))
    training.vae.train(Budget(steps=10))
    states = [load_state_at(path) for path in sorted((tmp_path / "vae").glob("state-*"))]
    (before, after) = states
    moved = {name for name in after if name.startswith("model.") and not torch.equal(before[name], after[name])}
    assert any(name.startswith("model.decoder.") for name in moved)
    assert not any(name.startswith(("model.encoder.", "model.quant_conv.")) for name in moved)


def load_state_at(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= {name.rpartition("#")[0]: value for name, value in load_file(shard).items()}
    return tensors


def test_logs_are_readable_by_tensorboard(trained: PriorTrainings) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(trained.run.out / "unet" / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [2, 4, 6]
    assert board.Images("picture")[0].step == 6
    picture = Image.open(trained.run.out / "unet" / "pictures" / "0000000006.png")
    assert picture.size == (8 * 64 + 7 * 2, 64)


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, trained: PriorTrainings) -> None:
    steps = 12
    program = [sys.executable, small_training.__file__, str(tmp_path), "vae", str(steps)]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(program, env=environment) as process:
        deadline = time.monotonic() + 120
        while (state := latest_state(tmp_path / "vae")) is None or int(state.name[6:]) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    stopped = latest_state(tmp_path / "vae")
    assert stopped is not None
    assert 3 <= int(stopped.name[6:]) < steps
    training = prior_trainings(tmp_path)
    assert training.vae.train(Budget(steps=steps)) is Outcome.FINISHED
    assert_same_weights(tmp_path / "vae", trained.run.out / "vae")
    lines = [json.loads(line) for line in (tmp_path / "vae" / "log.jsonl").read_text().splitlines()]
    assert len({(line["kind"], line["step"]) for line in lines}) == len(lines)


def test_a_paused_unet_goes_on_to_the_same_bits(tmp_path: Path, trained: PriorTrainings) -> None:
    shutil.copytree(trained.run.model / "vae", tmp_path / "model" / "vae")
    rhythm = Rhythm(log_steps=2, look_seconds=1e9, save_seconds=1e9, shard_mib=0.05)
    reports: list[Report] = []

    def stop_after_two(report: Report) -> None:
        reports.append(report)
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    first = prior_trainings(tmp_path, rhythm=rhythm, report=stop_after_two)
    assert first.unet.train(Budget(steps=6)) is Outcome.INTERRUPTED
    assert latest_state(tmp_path / "unet") == tmp_path / "unet" / "state-0000000002"
    assert [report.step for report in reports] == [2]
    assert prior_trainings(tmp_path).unet.train(Budget(steps=6)) is Outcome.FINISHED
    assert_same_weights(tmp_path / "unet", trained.run.out / "unet")


def test_seeded_samples_are_the_same_bits_in_two_runs(trained: PriorTrainings) -> None:
    sheets = [sample_sheet(load(trained.run.model, device="cpu"), 48, steps=(2, 5), columns=3) for _ in range(2)]
    assert np.array_equal(*sheets)
    assert sheets[0].shape == (2 * 48 + 2, 3 * 48 + 2 * 2, 3)
    assert not np.array_equal(
        sheets[0], sample_sheet(load(trained.run.model, device="cpu"), 48, steps=(2, 5), columns=3, seed=9)
    )


def test_two_seeds_give_two_models(tmp_path: Path, trained: PriorTrainings) -> None:
    prior_trainings(tmp_path, dataclasses.replace(CONFIG, seed=1)).vae.train(Budget(steps=1))
    name = "model.decoder.conv_in.weight"
    assert not torch.equal(tensors_of(tmp_path / "vae")[name], tensors_of(trained.run.out / "vae")[name])


def test_epsilon_prediction_trains_too(tmp_path: Path, trained: PriorTrainings) -> None:
    config = dataclasses.replace(CONFIG, unet=dataclasses.replace(CONFIG.unet, prediction_type="epsilon"))
    training = prior_trainings(tmp_path, config, start=trained.run.model)
    # The U-Net of another model to begin with, and its autoencoder to work on.
    training.unet.train(Budget(steps=2))
    prior = load(tmp_path / "model", device="cpu")
    assert prior.prediction_type == "epsilon"
    assert bool(prior.sample(prior.noise((32, 32), [0]), 3).isfinite().all())
    assert load(trained.run.model, device="cpu").null_embedding.shape == prior.null_embedding.shape


def test_a_decoder_can_go_on_alone(tmp_path: Path, trained: PriorTrainings) -> None:
    changed = dataclasses.replace(CONFIG.autoencoder, freeze_encoder=True)
    training = prior_trainings(tmp_path, dataclasses.replace(CONFIG, autoencoder=changed), start=trained.run.model)
    training.vae.train(Budget(steps=3))
    before = load_file(trained.run.model / "vae" / "diffusion_pytorch_model.safetensors")
    after = load_file(training.run.model / "vae" / "diffusion_pytorch_model.safetensors")
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert not any(name.startswith(("encoder.", "quant_conv.")) for name in moved)
    # Where it was loaded from stays on this machine.
    assert str(trained.run.model) not in (training.run.model / "vae" / "config.json").read_text()
    # The card goes on telling how the rest was trained.
    card = write_card(training.run.model).read_text()
    assert all(f"\n{steps} steps in" in card for steps in (12, 3, 6))
    assert "it keeps" not in card
    again = prior_trainings(tmp_path / "again", training.vae.recipe.config, start=training.run.model, kept=0.5)
    again.vae.train(Budget(steps=2))
    card = write_card(again.run.model).read_text()
    assert "it keeps 50% (linear" in card
    assert "## Going on with its decoder alone, 2\n" in card
    assert all(f"\n{steps} steps in" in card for steps in (12, 3, 2))


class _Zeros:
    digest = "0"

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.zeros(len(images), 4, images.shape[2] // 8, images.shape[3] // 8)


def test_a_decoder_learns_from_sketches(tmp_path: Path, trained: PriorTrainings) -> None:
    def decoder(sketches: Sketches | None, share: float = 1.0) -> torch.Tensor:
        changed = dataclasses.replace(CONFIG.autoencoder, freeze_encoder=True, sketch_share=share)
        config = dataclasses.replace(CONFIG, autoencoder=changed)
        training = prior_trainings(tmp_path, config, start=trained.run.model, sketches=sketches)
        task = training.vae.task()
        task.step(0, 0.5)
        if sketches is not None:
            figures = task.evaluate()
            assert {"sketch_psnr", "sketch_l1", "sketch_perceptual"} <= figures.keys()
            assert figures["sketch_psnr"] < figures["psnr"]
        shutil.rmtree(tmp_path / "vae")
        return task.model.post_quant_conv.weight.detach().clone()

    # Nothing but zeros comes in, so the first weights have no gradient; with no share of them they have.
    begun = load_network(trained.run.model, "vae").post_quant_conv.weight
    torch.testing.assert_close(decoder(_Zeros()), begun, rtol=1e-3, atol=1e-5)
    assert torch.equal(decoder(_Zeros(), 0.0), decoder(None))
    assert not torch.allclose(decoder(None), begun, rtol=1e-3, atol=1e-5)


def test_sketches_are_unscaled_and_cut(tmp_path: Path, trained: PriorTrainings) -> None:
    class Doubled:
        digest = "1"

        def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            with torch.no_grad():
                latents = modes(task.average.model, images)
            return torch.nn.functional.pad(2 * (latents - 0.5), (0, 1, 0, 1))

    changed = dataclasses.replace(CONFIG.autoencoder, freeze_encoder=True)
    config = dataclasses.replace(CONFIG, autoencoder=changed)
    task = prior_trainings(tmp_path, config, start=trained.run.model, sketches=Doubled()).vae.task()
    for model in (task.model, task.average.model):
        model.register_to_config(scaling_factor=2.0, shift_factor=0.5)
    figures = task.evaluate()
    assert figures["sketch_psnr"] == pytest.approx(figures["psnr"])
    task.step(0, 0.5)


def test_a_blend_is_of_one_latent_space(tmp_path: Path, trained: PriorTrainings) -> None:
    changed = dataclasses.replace(CONFIG.autoencoder, freeze_encoder=True)
    config = dataclasses.replace(CONFIG, autoencoder=changed)
    prior_trainings(tmp_path / "one", config, start=trained.run.model).vae.train(Budget(steps=1))
    other = prior_trainings(tmp_path / "other", dataclasses.replace(CONFIG, seed=1))
    other.vae.train(Budget(steps=1))
    with pytest.raises(TrainingError, match="has other latents than the decoder"):
        prior_trainings(tmp_path / "one", config, start=other.run.model, kept=0.5).vae.export()


def test_a_decoder_with_sketches_goes_on_to_the_same_bits(tmp_path: Path, trained: PriorTrainings) -> None:
    changed = dataclasses.replace(CONFIG.autoencoder, freeze_encoder=True, sketch_share=0.5)
    config = dataclasses.replace(CONFIG, autoencoder=changed)
    own: dict[str, Any] = {"start": trained.run.model, "sketches": _Zeros()}
    prior_trainings(tmp_path / "one", config, **own).vae.train(Budget(steps=6))
    stopped = prior_trainings(tmp_path / "two", config, rhythm=Rhythm(log_steps=2), report=_stop_at(4), **own)
    assert stopped.vae.train(Budget(steps=6)) is Outcome.INTERRUPTED
    prior_trainings(tmp_path / "two", config, **own).vae.train(Budget(steps=6))
    assert_same_weights(tmp_path / "one" / "vae", tmp_path / "two" / "vae")


def test_a_decoder_does_not_go_on_without_its_sketches(tmp_path: Path, trained: PriorTrainings) -> None:
    changed = dataclasses.replace(CONFIG.autoencoder, freeze_encoder=True)
    config = dataclasses.replace(CONFIG, autoencoder=changed)
    prior_trainings(tmp_path, config, start=trained.run.model, sketches=_Zeros()).vae.train(Budget(steps=1))
    with pytest.raises(TrainingError, match="sketches"):
        prior_trainings(tmp_path, config, start=trained.run.model).vae.train(Budget(steps=2))


def test_an_autoencoder_of_shuffled_pixels_trains_and_goes_on(tmp_path: Path) -> None:
    from diffusers import AutoencoderDC

    changed = dataclasses.replace(CONFIG.autoencoder, kind="AutoencoderDC", deep=DEEP, perceptual_images=1)
    config = dataclasses.replace(CONFIG, autoencoder=changed)
    # Through all phases, the adversarial one included, in one run and in two.
    prior_trainings(tmp_path / "one", config).vae.train(Budget(steps=10))
    stopped = prior_trainings(tmp_path / "two", config, rhythm=Rhythm(log_steps=2), report=_stop_at(4))
    assert stopped.vae.train(Budget(steps=10)) is Outcome.INTERRUPTED
    training = prior_trainings(tmp_path / "two", config)
    training.vae.train(Budget(steps=10))
    assert_same_weights(tmp_path / "one" / "vae", tmp_path / "two" / "vae")
    vae = AutoencoderDC.from_pretrained(training.run.model / "vae", low_cpu_mem_usage=False)
    assert vae.config.latent_channels == 4
    training.unet.train(Budget(steps=1))
    index = json.loads((training.run.model / "model_index.json").read_text())
    assert index["vae"] == ["diffusers", "AutoencoderDC"]
    # A training that begins with its weights takes its architecture over, whatever the settings say.
    further = prior_trainings(tmp_path / "further", start=training.run.model)
    further.vae.train(Budget(steps=1))
    # Both trainings are in the card, in their order.
    card = write_card(further.run.model).read_text()
    assert card.index("## Training the autoencoder\n\n10 steps in") < card.index(
        "## Training the autoencoder, 2\n\n1 steps in"
    )
    prior_trainings(tmp_path / "further").vae.train(Budget(steps=2))
    assert json.loads((further.run.model / "vae" / "config.json").read_text())["_class_name"] == "AutoencoderDC"


def test_an_unknown_kind_of_autoencoder_is_said(tmp_path: Path) -> None:
    changed = dataclasses.replace(CONFIG.autoencoder, kind="VQModel")
    with pytest.raises(TrainingError, match="kind must be AutoencoderKL or AutoencoderDC, not 'VQModel'"):
        prior_trainings(tmp_path, dataclasses.replace(CONFIG, autoencoder=changed)).vae.train(Budget(steps=1))


def _stop_at(step: int) -> Callable[[Report], None]:
    def stop(report: Report) -> None:
        if report.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def test_a_time_budget_pauses_and_ends(tmp_path: Path) -> None:
    paused = prior_trainings(tmp_path, deadline=time.monotonic())
    assert paused.vae.train(Budget(minutes=60)) is Outcome.PAUSED
    assert prior_trainings(tmp_path).vae.train(Budget(minutes=0.02)) is Outcome.FINISHED
    state = load_state(tmp_path / "vae")
    assert state is not None
    assert state.facts["seconds"] >= 0.02 * 60


@pytest.mark.parametrize("budget", [{}, {"steps": 1, "minutes": 1}, {"steps": 0}, {"minutes": -1}])
def test_a_budget_is_one_positive_number(budget: dict[str, int]) -> None:
    with pytest.raises(TrainingError, match="give a budget"):
        Budget(**budget)


def test_other_images_do_not_go_on_with_a_training(tmp_path: Path) -> None:
    prior_trainings(tmp_path).vae.train(Budget(steps=1))
    other = prior_trainings(tmp_path, crops=small_crops(count=10))
    with pytest.raises(TrainingError, match="begun with different data"):
        other.vae.train(Budget(steps=2))


def test_a_unet_does_not_go_on_with_other_latents(tmp_path: Path, trained: PriorTrainings) -> None:
    prior_trainings(tmp_path, start=trained.run.model).unet.train(Budget(steps=1))
    prior_trainings(tmp_path).vae.train(Budget(steps=1))
    with pytest.raises(TrainingError, match="begun with different encoder"):
        prior_trainings(tmp_path).unet.train(Budget(steps=2))


def test_latents_are_made_once(tmp_path: Path, trained: PriorTrainings, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained.run.model / "vae", tmp_path / "model" / "vae")
    (stored,) = trained.run.out.glob("latents-*.safetensors")
    kept = tmp_path / stored.name
    kept.write_bytes(stored.read_bytes()[:-5])  # as a killed process leaves it: it is not trusted
    first = prior_trainings(tmp_path, rhythm=Rhythm(log_steps=2), report=_stop_at(2))
    assert first.unet.train(Budget(steps=6)) is Outcome.INTERRUPTED
    assert kept.read_bytes() == stored.read_bytes()
    monkeypatch.setattr("rdtrain.prior.latents.make_latents", None)
    prior_trainings(tmp_path).unet.train(Budget(steps=6))
    assert_same_weights(tmp_path / "unet", trained.run.out / "unet")


def test_a_unet_needs_an_autoencoder(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"train the part 'vae' in .* first"):
        prior_trainings(tmp_path).unet.train(Budget(steps=1))


def test_nothing_trained_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing has been trained"):
        prior_trainings(tmp_path).vae.export()


def test_a_state_can_be_exported_again(tmp_path: Path, trained: PriorTrainings) -> None:
    shutil.copytree(trained.run.out / "vae", tmp_path / "vae")
    prior_trainings(tmp_path).vae.export()
    path = Path("vae", "diffusion_pytorch_model.safetensors")
    assert (tmp_path / "model" / path).read_bytes() == (trained.run.model / path).read_bytes()


def test_a_training_is_not_overwritten(tmp_path: Path) -> None:
    assert settle(tmp_path, CONFIG, CONFIG, resume=False) == CONFIG
    keep_settings(tmp_path, CONFIG)
    with pytest.raises(TrainingError, match="holds a training already: say --resume"):
        settle(tmp_path, CONFIG, CONFIG, resume=False)
    assert settle(tmp_path, None, CONFIG, resume=True) == CONFIG
    with pytest.raises(TrainingError, match="begun with other settings"):
        settle(tmp_path, dataclasses.replace(CONFIG, seed=9), CONFIG, resume=True)


def test_the_card_tells_how_it_was_trained(trained: PriorTrainings) -> None:
    text = write_card(trained.run.model).read_text()
    assert "12 steps in" in text
    assert "6 steps in" in text
    assert f"{len(trained.vae.recipe.crops.train)} crops of {trained.vae.recipe.crops.files[0]} images" in text
    assert "noise loss 900" in text
    (trained.run.model / CARD).unlink()
