"""The sampler's own way, in a training."""

import pytest
import torch

from rdcodecs.prior import Prior
from rdcodecs.prior.train.walk import draw_walk, predict_at_end
from small_models import make_unet, make_vae, scheduler_values


def a_prior(prediction_type: str) -> Prior:
    return Prior(make_vae(), make_unet(), scheduler_values(prediction_type))


def test_a_walk_begins_at_pure_noise_and_ends_anywhere() -> None:
    prior = a_prior("epsilon")
    walks = [draw_walk(prior, (2, 4), torch.Generator().manual_seed(seed)) for seed in range(40)]
    wanted = {tuple(prior.timesteps(count)[: end + 1]) for count in (2, 4) for end in range(count)}
    assert {tuple(walk) for walk in walks} == wanted


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
