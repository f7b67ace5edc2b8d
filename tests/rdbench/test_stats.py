"""Intervals and tests over images, against closed forms, tables of books, and a simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from rdbench.bd import batch_deltas
from rdbench.stats import holm, jackknife_interval, leave_one_out, sign_test, student_t


def test_leaving_each_image_out_in_turn():
    table = np.array([[1.0, 10], [2, 20], [6, 60]])
    np.testing.assert_allclose(leave_one_out(table), [[4, 40], [3.5, 35], [1.5, 15]])


def test_students_t_is_that_of_the_tables():
    assert student_t(5) == pytest.approx(2.570582, abs=1e-6)
    assert student_t(23) == pytest.approx(2.068658, abs=1e-6)


def test_the_interval_of_a_mean_is_students_a_little_longer():
    values = np.array([3.0, 5, 4, 8, 1, 3, 6, 2])
    low, high, why = jackknife_interval(values.mean(), leave_one_out(values))
    student = stats.t.interval(0.95, 7, values.mean(), stats.sem(values))
    longer = math.sqrt(8 / 7)
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert high - low == pytest.approx(longer * (student[1] - student[0]))
    assert why == ""


def test_a_change_in_percent_has_its_interval_over_the_ratio():
    """Halving and doubling are equally far: the interval of the inverse ratio has the inverse ends."""
    ratios = np.array([0.5, 0.8, 1.3, 2.0, 0.9, 1.1])
    low, high, _ = jackknife_interval(10.0, 100 * (ratios - 1), percent=True)
    back_low, back_high, _ = jackknife_interval(100 * (1 / 1.1 - 1), 100 * (1 / ratios - 1), percent=True)
    assert low < 10 < high
    assert low > -100
    assert 1 + back_low / 100 == pytest.approx(1 / (1 + high / 100))
    assert 1 + back_high / 100 == pytest.approx(1 / (1 + low / 100))


@pytest.mark.parametrize("images", [0, 1, 5])
def test_no_interval_below_six_images(images):
    low, high, why = jackknife_interval(1.0, np.arange(images, dtype=float))
    assert np.isnan([low, high]).all()
    assert why == f"no interval: it needs 6 images, there are {images}"


def test_no_interval_where_one_image_decides_whether_there_is_a_figure():
    low, high, why = jackknife_interval(1.0, np.array([1.0, 2, np.nan, 1, 2, np.nan, 1]))
    assert np.isnan([low, high]).all()
    assert why == "no interval: with one image less there is no figure, for 2 of the 7 images"


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(10, 0, 2 / 1024), (0, 10, 2 / 1024), (5, 5, 1.0), (8, 2, 0.109375), (1, 0, 1.0), (17, 7, 0.0639147)],
)
def test_the_sign_test_is_exact(wins, losses, p):
    assert sign_test(wins, losses) == pytest.approx(p, rel=1e-5)
    assert sign_test(wins, losses) == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)


def test_without_wins_and_losses_there_is_no_test():
    assert math.isnan(sign_test(0, 0))
    assert 0 < sign_test(0, 2000) < 1e-300 or sign_test(0, 2000) == 0


def test_holms_correction():
    """The example of Holm (1979): the smallest times three, the next times two, never below one before."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    corrected = holm([0.01, math.nan, 0.02])
    assert corrected[0] == pytest.approx(0.02)
    assert math.isnan(corrected[1])
    assert corrected[2] == pytest.approx(0.02)
    assert holm([]) == []


@pytest.mark.parametrize(("images", "kind"), [(8, "rate"), (24, "rate"), (8, "quality"), (24, "quality")])
def test_intervals_cover_the_truth(images, kind):
    """Two codecs whose rates and qualities scatter from image to image as Kodak's do; the truth is known.

    tests/perf/interval_coverage.py does this with populations made of measured rows.
    """
    random = np.random.default_rng([images, len(kind)])
    draws = 800

    def sample(count):
        content = random.normal(0, 0.35, (count, 1)) + 0.25 * random.exponential(1, (count, 1))
        bpp, quality = [], []
        for factor in (1.0, 0.8):
            own = random.normal(0, 0.12, (count, 1))
            bpp.append(0.1 * factor * 2.0 ** np.arange(5) * np.exp(content + own))
            quality.append(28 + 2.5 * np.arange(5) - 4 * content + random.normal(0, 0.3, (count, 1)))
        return bpp[0], quality[0], bpp[1], quality[1]

    def deltas(tables):
        return batch_deltas(kind, tables[:2], tables[2:], "pchip")

    (truth,) = deltas([table.mean(axis=0, keepdims=True) for table in sample(400_000)])
    missed_low = missed_high = 0
    for _ in range(draws):
        tables = sample(images)
        (value,) = deltas([table.mean(axis=0, keepdims=True) for table in tables])
        without = deltas([leave_one_out(table) for table in tables])
        low, high, _ = jackknife_interval(value, without, percent=kind == "rate")
        missed_low += truth < low
        missed_high += truth > high
    assert 0.93 < 1 - (missed_low + missed_high) / draws < 0.98
    assert max(missed_low, missed_high) < 0.05 * draws, "on both sides alike"
