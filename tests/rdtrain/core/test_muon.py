"""The optimiser."""

import pytest
import torch
from torch import nn

from rdtrain.core.muon import Muon, orthogonalised
from rdtrain.core.state import load_optimizer, optimizer_tensors


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_singular_values_become_alike_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonalised(matrix)
    # The same singular vectors: in their basis it is a diagonal, of values about 1.
    inner = left.mT @ made @ right.mT
    diagonal = inner.diagonal()
    torch.testing.assert_close(inner, torch.diag(diagonal), atol=1e-4, rtol=0)
    assert float(values.max() / values.min()) > 3
    assert 0.6 < float(diagonal.min()) <= float(diagonal.max()) < 1.3


def a_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 1, 1)
    )


def descend(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> float:
    loss = torch.zeros(())
    for step in steps:
        images = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(step))
        wanted = images.mean(dim=1, keepdim=True).roll(1, dims=3).abs()
        loss = (network(images) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


def test_it_learns() -> None:
    network = a_network()
    optimizer = Muon(network.parameters(), lr=5e-3)
    first = descend(network, optimizer, range(1))
    assert descend(network, optimizer, range(1, 120)) < 0.2 * first
    # Matrices that are wide enough have a momentum, the rest Adam's two moments.
    kinds = [set(optimizer.state[weight]) for weight in network.parameters()]
    adam, muon = {"step", "first", "second"}, {"step", "momentum"}
    assert kinds == [muon, adam, muon, adam, adam, adam]


def test_it_goes_on_to_the_same_bits_from_its_state() -> None:
    whole = a_network()
    descend(whole, Muon(whole.parameters(), lr=1e-3, weight_decay=0.1), range(6))
    one = a_network()
    first = Muon(one.parameters(), lr=1e-3, weight_decay=0.1)
    descend(one, first, range(3))
    second = Muon(one.parameters(), lr=1e-3, weight_decay=0.1)
    load_optimizer("o", second, {name: value.clone() for name, value in optimizer_tensors("o", first).items()})
    descend(one, second, range(3, 6))
    for ours, theirs in zip(one.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_is_as_large_as_adam_s_and_decay_is_decoupled() -> None:
    weight = nn.Parameter(torch.randn(32, 64, generator=torch.Generator().manual_seed(1)))
    before = weight.detach().clone()
    weight.grad = torch.randn(32, 64, generator=torch.Generator().manual_seed(2))
    Muon([weight], lr=0.01, weight_decay=0.5).step()
    moved = before * (1 - 0.01 * 0.5) - weight.detach()
    assert 0.1 < float(moved.square().mean().sqrt()) / 0.01 < 0.3
