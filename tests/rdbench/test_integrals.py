import bjontegaard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdbench.integrals import interval_means

METHODS = ("pchip", "akima", "cubic")


def batch(seed: int, rows: int, points: int):
    random = np.random.default_rng(seed)
    x = np.cumsum(random.uniform(0.05, 3, (rows, points)), axis=1) + random.normal(0, 20, (rows, 1))
    y = np.cumsum(random.uniform(0.01, 1, (rows, points)), axis=1)
    low = x[:, 0] + random.uniform(0, 0.45, rows) * np.ptp(x, axis=1)
    high = low + random.uniform(0.05, 0.5, rows) * np.ptp(x, axis=1)
    return x, y, low, high


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32 - 1), points=st.integers(4, 9))
@settings(max_examples=40, deadline=None)
def test_equals_bjontegaard(method, seed, points):
    """Each row's mean difference is the one that the package finds for the two curves by itself.

    The package gets the abscissae centred, which changes no mean: its polynomial fit loses digits far from zero.
    """
    xa, ya, *_ = batch(seed, 5, points)
    random = np.random.default_rng(seed + 1)
    xt = xa + random.uniform(-0.2, 0.2, (5, 1)) * np.ptp(xa, axis=1)[:, None]
    yt = ya * random.uniform(0.7, 1.3, (5, 1))
    low, high = np.maximum(xa[:, 0], xt[:, 0]), np.minimum(xa[:, -1], xt[:, -1])
    ours = interval_means(xt, yt, low, high, method) - interval_means(xa, ya, low, high, method)
    centre = xa.mean(axis=1)
    theirs = [
        bjontegaard.bd_linear(xa[i] - centre[i], ya[i], xt[i] - centre[i], yt[i], method=method, min_overlap=0)
        for i in range(5)
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_straight_line_has_its_mean_in_the_middle(method):
    x, _, low, high = batch(3, 50, 6)
    means = interval_means(x, 2 * x - 5, low, high, method)
    np.testing.assert_allclose(means, low + high - 5, rtol=1e-8, atol=1e-8)


def test_pchip_does_not_overshoot_a_step():
    x = np.array([[0.0, 1, 2, 3]])
    y = np.array([[0.0, 0, 1, 1]])
    assert interval_means(x, y, np.array([0.0]), np.array([1.0]), "pchip")[0] == 0
    assert interval_means(x, y, np.array([2.0]), np.array([3.0]), "pchip")[0] == 1
