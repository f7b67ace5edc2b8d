import pytest
import torch
from scipy.stats import logistic, norm

from rdcodecs.entropy import counted_tables, gaussian_tables
from rdcodecs.hyperprior.likelihood import (
    SCALES,
    FactorisedPrior,
    gaussian_bits,
    lower_bounded,
    scale_at,
    scale_table,
)


def test_gaussian_bits_are_scipys() -> None:
    values = torch.tensor([0.0, 0.3, -1.7, 4.0], dtype=torch.double)
    scales = torch.tensor([0.11, 1.0, 2.5, 0.9], dtype=torch.double)
    wanted = norm.cdf(values + 0.5, scale=scales) - norm.cdf(values - 0.5, scale=scales)
    torch.testing.assert_close(gaussian_bits(values, scales), -torch.from_numpy(wanted).log2())


def test_training_and_coding_agree_on_the_bits() -> None:
    # What is trained for, against the integer tables that code: each symbol at each entry of the scale table.
    book = gaussian_tables(scale_table())
    for index in range(0, SCALES, 9):
        scale = torch.tensor(scale_table()[index], dtype=torch.double)
        for symbol in (0, 1, -3):
            estimate = float(gaussian_bits(torch.tensor(float(symbol), dtype=torch.double), scale))
            if estimate > 9:
                continue  # integer frequencies are too coarse to compare there
            tables = torch.full((1,), index).numpy()
            assert book.bits(torch.tensor([symbol]).numpy(), tables) == pytest.approx(estimate, abs=0.02)


def test_scales_are_those_of_the_table() -> None:
    torch.testing.assert_close(scale_at(torch.arange(SCALES).float()), torch.tensor(scale_table()))
    assert scale_table()[0] == pytest.approx(0.11)
    assert scale_table()[-1] == pytest.approx(64)
    assert float(scale_at(torch.tensor(-5.0))) == pytest.approx(0.11)
    assert float(scale_at(torch.tensor(500.0))) == pytest.approx(64)


def test_the_prior_of_hyper_latents_is_logistic() -> None:
    prior = FactorisedPrior(2, 3)
    with torch.no_grad():
        prior.mean[1] = torch.tensor([0.5, -1.0, 0.0])
        prior.log_scale[1] = torch.tensor([0.0, 1.0, -1.0])
    values = torch.tensor([1.0, 2.0, 0.0]).reshape(1, 3, 1, 1)
    bits = prior(values, torch.tensor([1])).flatten()
    law = logistic(loc=[0.5, -1.0, 0.0], scale=torch.tensor([0.0, 1.0, -1.0]).exp().numpy())
    wanted = law.cdf(values.flatten().numpy() + 0.5) - law.cdf(values.flatten().numpy() - 0.5)
    torch.testing.assert_close(bits, -torch.from_numpy(wanted).log2().float(), rtol=1e-4, atol=1e-4)


def test_a_bound_lets_the_gradient_bring_values_back() -> None:
    values = torch.tensor([-1.0, 3.0], requires_grad=True)
    bounded = lower_bounded(values, 2.0)
    assert bounded.tolist() == [2.0, 3.0]
    # A step against this gradient would raise both values; one against the other would lower them.
    assert torch.autograd.grad(bounded.sum() * -1, values, retain_graph=True)[0].tolist() == [-1.0, -1.0]
    assert torch.autograd.grad(bounded.sum(), values)[0].tolist() == [0.0, 1.0]


def test_the_prior_takes_the_moments_of_counted_tables() -> None:
    counts = torch.distributions.Normal(1.3, 2.0).cdf(torch.arange(-9.0, 13) + 0.5).diff() * 1e6
    tables = counted_tables([(-8, counts.long().numpy()), (4, torch.tensor([100_000]).numpy())])
    prior = FactorisedPrior(2, 1)
    prior.fit(tables)
    prior.requires_grad_(False)
    assert float(prior.mean[0, 0]) == pytest.approx(1.3, abs=0.01)
    assert float(prior.log_scale[0, 0].exp()) == pytest.approx(2.0 * 3**0.5 / torch.pi, abs=0.05)
    # A table of one value: as narrow as the prior gets.
    assert float(prior.mean[1, 0]) == pytest.approx(4)
    assert float(prior.log_scale[1, 0]) == -3
