"""The code of what lies outside a table."""

import numpy as np
import pytest

from rdcodecs.entropy import escape


def test_classes_are_those_of_exp_golomb() -> None:
    distances = np.array([0, 1, 2, 3, 6, 7, (1 << 20) - 2, (1 << 20) - 1, (1 << 21) - 2])
    classes, rests = escape.split(distances)
    assert classes.tolist() == [0, 1, 1, 2, 2, 3, 19, 20, 20]
    assert rests.tolist() == [0, 0, 1, 0, 3, 0, (1 << 19) - 1, 0, (1 << 20) - 1]
    np.testing.assert_array_equal(escape.join(classes, rests), distances)


def test_bits_are_those_of_the_weights() -> None:
    assert escape.CLASS_WEIGHTS.sum() == 1 << 24
    distances = (1 << np.arange(21)) - 1  # the first of each class
    expected = 1 + (24 - np.log2(escape.CLASS_WEIGHTS)) + np.arange(21)
    assert [escape.bits(distances[[index]]) for index in range(21)] == pytest.approx(expected.tolist())
    assert escape.bits(distances) == pytest.approx(expected.sum())
