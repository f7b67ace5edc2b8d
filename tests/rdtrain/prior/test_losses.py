import copy

import pytest
import torch

from rdtrain.core.picture_distance import ms_ssim_loss, perceptual_digest
from rdtrain.prior.losses import (
    PatchDiscriminator,
    gaussian_divergence,
    gradient_balance,
    hinge_discriminator,
    hinge_generator,
    min_snr_weight,
)
from small_training import l2_distance


def test_divergence_is_torchs_own() -> None:
    mean, log_variance = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    made = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(made, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(gaussian_divergence(mean, log_variance), wanted)


def test_min_snr_weights() -> None:
    # Signal-to-noise ratios of 99, 1 and 0, and the floor of 0.1.
    alphas = torch.tensor([0.99, 0.5, 0.0])
    torch.testing.assert_close(min_snr_weight(alphas, 5.0, "v_prediction"), torch.tensor([5 / 100, 1 / 2, 0.1]))
    torch.testing.assert_close(min_snr_weight(alphas[:2], 5.0, "epsilon"), torch.tensor([5 / 99, 1.0]))


def test_the_discriminators_margin() -> None:
    real, made = torch.tensor([2.0, 0.5]), torch.tensor([-2.0, 0.5])
    assert float(hinge_discriminator(real, made)) == 0.5 * ((0 + 0.5) / 2 + (0 + 1.5) / 2)
    assert float(hinge_generator(made)) == 0.75


def test_the_discriminator_sees_patches() -> None:
    judge = PatchDiscriminator(24)
    image = torch.zeros(1, 3, 128, 128)
    other = image.clone()
    other[..., :8, :8] = 1
    changed = (judge(image) != judge(other))[0, 0]
    assert changed.shape == (15, 15)
    assert bool(changed[0, 0])


def test_a_perceptual_loss_is_told_from_another() -> None:
    network = torch.nn.Conv2d(3, 1, 3)
    digests = {perceptual_digest(loss) for loss in (None, l2_distance, network, torch.nn.Conv2d(3, 1, 3))}
    assert len(digests) == 4
    assert perceptual_digest(copy.deepcopy(network)) in digests


def test_balanced_gradients_have_the_same_norm() -> None:
    first, second = torch.randn(50), torch.randn(50) * 7
    factor = gradient_balance(first, second)
    torch.testing.assert_close((factor * second).norm(), first.norm(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("side", [64, 128, 192])
def test_ms_ssim_loss(side: int) -> None:
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pair = ms_ssim_loss(torch.cat([image, image * 0.2]), image.repeat(2, 1, 1, 1))
    assert float(pair[0]) == pytest.approx(0, abs=1e-6)
    assert float(pair[1]) > 0.05
