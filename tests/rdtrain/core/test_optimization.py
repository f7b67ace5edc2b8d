import math

import pytest
import torch

from rdtrain.core.average import Average
from rdtrain.core.optimization import schedule


def test_schedule() -> None:
    assert schedule(0.0, 0, 10) == pytest.approx(0.1)
    assert schedule(0.0, 100, 10) == 1.0
    assert schedule(0.5, 100, 10) == pytest.approx(0.01 + 0.99 / 2)
    assert schedule(1.7, 100, 10) == pytest.approx(0.01)


def test_the_average_weighs_later_steps_more() -> None:
    """The weight of step t of T is its share of t**gamma, Karras et al. 2024, equation 126, by direct summation."""
    layer = torch.nn.Linear(1, 1, bias=False)
    gamma, steps = 3.0, 400
    average = Average(layer, gamma)
    values = [math.sin(step / 40) for step in range(steps)]
    for step, value in enumerate(values):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(step)
    weights = [(step + 1) ** gamma for step in range(steps)]
    wanted = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
    assert float(average.model.weight) == pytest.approx(wanted, abs=0.02)
    assert not average.model.weight.requires_grad
