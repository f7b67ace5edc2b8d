import bjontegaard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from rdbench.integrals import falls_at, interval_means

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


def test_a_fit_that_falls_between_rising_points_is_found_at_its_place():
    """The cubic through x^3 - 3 a^2 x at four points: it falls between -a and a, most steeply at 0."""
    a = 0.5
    x = np.array([[-2.0, -0.9, 0.9, 2.0]])
    y = x**3 - 3 * a**2 * x
    assert (np.diff(y) > 0).all()
    everywhere = (np.array([-2.0]), np.array([2.0]))
    assert falls_at(x, y, *everywhere, "cubic") == pytest.approx(0, abs=1e-9)
    # Only what lies within the bounds counts: it rises beyond a, and falls at the lower bound just before it.
    assert np.isnan(falls_at(x, y, np.array([0.6]), np.array([2.0]), "cubic"))
    assert falls_at(x, y, np.array([0.4]), np.array([2.0]), "cubic") == pytest.approx(0.4)
    assert np.isnan(falls_at(x, y, *everywhere, "pchip"))


def test_akima_can_fall_between_rising_points():
    x = np.arange(6.0)[None]
    y = np.array([[0.0, 1.9, 2.0, 2.7, 3.8, 5.7]])
    place = falls_at(x, y, x[:, 0], x[:, -1], "akima")
    grid = np.linspace(0, 5, 5001)
    slopes = Akima1DInterpolator(x[0], y[0])(grid, 1)
    assert slopes.min() == pytest.approx(-0.135, abs=1e-3)
    assert place == pytest.approx(grid[slopes.argmin()], abs=2e-3)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32 - 1), points=st.integers(4, 7))
@settings(max_examples=40, deadline=None)
def test_where_a_fit_falls_is_what_a_fine_grid_finds(method, seed, points):
    x, _, low, high = batch(seed, 8, points)
    random = np.random.default_rng(seed)
    y = np.cumsum(random.exponential(1, (8, points)) ** 3 + 1e-6, axis=1)
    found = falls_at(x, y, low, high, method)
    for i in range(8):
        grid = np.linspace(low[i], high[i], 4001)
        if method == "cubic":
            fit = np.polynomial.Polynomial.fit(x[i], y[i], 3)
            slopes = fit.deriv()(grid)
        else:
            slopes = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}[method](x[i], y[i])(grid, 1)
        scale = np.ptp(y[i]) / np.ptp(x[i])
        if slopes.min() < -1e-6 * scale:
            assert low[i] <= found[i] <= high[i]
            assert np.interp(found[i], grid, slopes) < 0
        elif slopes.min() > 1e-6 * scale:
            assert np.isnan(found[i])
    if method == "pchip":
        assert np.isnan(found).all(), "pchip of rising points rises"
