"""The sampler's own way, in a training."""

import pytest
import torch

from rdcodecs.prior import Prior
from rdcodecs.prior.model import StepHook
from rdtrain.core.picture_distance import ms_ssim_loss
from rdtrain.prior.trajectory import PictureSettings, TrajectoryLoss, draw_walk, predict_at_end
from small_models import make_unet, make_vae, scheduler_values
from small_training import l2_distance


def a_prior(prediction_type: str) -> Prior:
    return Prior(make_vae(), make_unet(), scheduler_values(prediction_type))


def test_a_walk_begins_at_pure_noise_and_ends_anywhere() -> None:
    prior = a_prior("epsilon")
    walks = [draw_walk(prior, (2, 4), torch.Generator().manual_seed(seed)) for seed in range(40)]
    wanted = {tuple(prior.timesteps(count)[: end + 1]) for count in (2, 4) for end in range(count)}
    assert {tuple(walk) for walk in walks} == wanted
    whole = [draw_walk(prior, (2, 4), torch.Generator().manual_seed(seed), whole=1.0) for seed in range(40)]
    assert {tuple(walk) for walk in whole} == {tuple(prior.timesteps(count)) for count in (2, 4)}
    halves = [draw_walk(prior, (4,), torch.Generator().manual_seed(seed), whole=0.5) for seed in range(400)]
    # Half of them, and a quarter of the other half.
    assert sum(len(walk) == 4 for walk in halves) / 400 == pytest.approx(0.625, abs=0.08)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_prediction_is_the_sampler_s_and_has_a_gradient(kind: str) -> None:
    prior = a_prior(kind)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    clean: list[torch.Tensor] = []
    prior.sample(noise, 4, on_step=lambda _index, _latents, predicted: clean.append(predicted))
    shift = torch.zeros(1, requires_grad=True)

    def denoise(noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        return prior.denoise(noisy, timestep) + shift

    for end, wanted in enumerate(clean, start=1):
        timesteps = prior.timesteps(4)[:end]
        made = predict_at_end(prior, denoise, noise, timesteps)
        torch.testing.assert_close(made.detach(), wanted.clone(), atol=1e-3, rtol=1e-3)
        # Through the last prediction alone, in which the shift stands once.
        (gradient,) = torch.autograd.grad(made.sum(), shift)
        level = prior.alphas_cumprod[timesteps[-1]]
        each = -(1 - level).sqrt() / (1 if kind == "v_prediction" else level.sqrt())
        torch.testing.assert_close(gradient, each.reshape(1) * noise.numel(), rtol=1e-3, atol=1e-3)


def test_the_gradient_goes_through_as_many_predictions_as_are_unrolled() -> None:
    prior = a_prior("v_prediction")
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    timesteps = prior.timesteps(4)

    def walk(shifts: torch.Tensor, unrolled: int) -> torch.Tensor:
        by_level = dict(zip(timesteps, shifts, strict=True))
        made = predict_at_end(
            prior, lambda noisy, t: prior.denoise(noisy, t) + by_level[t], noise, timesteps, unrolled=unrolled
        )
        return made.mean()

    shifts = torch.zeros(4, requires_grad=True)
    # Finite differences know nothing of what has a gradient.
    tiny = 0.01 * torch.eye(4)
    with torch.no_grad():
        wanted = torch.stack([(walk(step, 1) - walk(-step, 1)) / 0.02 for step in tiny])
    assert wanted.abs().min() > 1e-3
    for unrolled in (1, 2, 4):
        (gradient,) = torch.autograd.grad(walk(shifts, unrolled), shifts)
        assert not gradient[: 4 - unrolled].any()
        torch.testing.assert_close(gradient[4 - unrolled :], wanted[4 - unrolled :], rtol=0.05, atol=1e-3)


def test_the_judged_picture_is_one_on_the_way_of_the_sampler() -> None:
    prior = a_prior("v_prediction")
    loss = TrajectoryLoss(PictureSettings(weight=2.0, pixel_weight=0.5, steps=(3,)), prior, l2_distance)
    pictures = torch.rand((2, 3, 64, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1
    places = set()
    for seed in range(12):
        judged = float(loss(pictures, prior.denoise, torch.Generator().manual_seed(seed)))
        generator = torch.Generator().manual_seed(seed)
        place = len(draw_walk(prior, (3,), generator)) - 1
        noise = torch.randn((2, 4, 8, 6), generator=generator)
        clean: list[torch.Tensor] = []
        prior.sample(noise, 3, on_step=_keep(clean))
        with torch.no_grad():
            made = prior.decode(clean[place].clone())
        wanted = l2_distance(made, pictures).mean() + 0.5 * (made - pictures).abs().mean()
        assert judged == pytest.approx(2 * float(wanted), rel=1e-3)
        places.add(place)
    assert places == {0, 1, 2}


def test_what_is_judged_is_what_the_codec_shows() -> None:
    prior = a_prior("v_prediction")
    loss = TrajectoryLoss(PictureSettings(weight=1.0, steps=(2,)), prior, l2_distance)
    pictures = torch.rand((2, 3, 64, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1
    judged, made = _judged(loss, prior, pictures, factor=0.5)
    wanted = l2_distance(0.5 * made, pictures).mean() + (0.5 * made - pictures).abs().mean()
    assert judged == pytest.approx(float(wanted), rel=1e-5)


def test_structure_is_judged_where_it_has_a_weight() -> None:
    prior = a_prior("v_prediction")
    pictures = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(1)) * 2 - 1
    (plain, _), (structured, made) = (
        _judged(
            TrajectoryLoss(PictureSettings(weight=2.0, ms_ssim_weight=weight, steps=(2,)), prior, None), prior, pictures
        )
        for weight in (0.0, 0.5)
    )
    assert structured - plain == pytest.approx(float(ms_ssim_loss(made, pictures).mean()), rel=1e-4)


def _judged(
    loss: TrajectoryLoss, prior: Prior, pictures: torch.Tensor, factor: float = 1.0
) -> tuple[float, torch.Tensor]:
    """Return the loss of decoded pictures times a factor, and the pictures as they were decoded."""
    decoded: list[torch.Tensor] = []

    def finish(made: torch.Tensor) -> torch.Tensor:
        decoded.append(made)
        return factor * made

    judged = float(loss(pictures, prior.denoise, torch.Generator().manual_seed(3), finish=finish))
    return judged, decoded[0]


def _keep(clean: list[torch.Tensor]) -> StepHook:
    return lambda _index, _latents, predicted: clean.append(predicted)


def test_every_image_of_a_batch_has_its_turn() -> None:
    loss = TrajectoryLoss(PictureSettings(weight=1.0, begin=0.25, images=2), a_prior("epsilon"), None)
    assert loss.chosen(0, 0.2, 5) is None
    turns = [loss.chosen(step, 0.3, 5) for step in range(5)]
    assert sorted(int(place) for turn in turns if turn is not None for place in turn) == sorted(2 * list(range(5)))
    assert TrajectoryLoss(PictureSettings(), a_prior("epsilon"), None).chosen(3, 0.9, 5) is None
