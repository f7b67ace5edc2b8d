from fractions import Fraction

import numpy as np
import pytest

from rdbench.datasets.srgb import nearest_level


@pytest.mark.parametrize(
    ("most", "divisor", "kind"),
    [(4 * 255, 4, np.uint16), (255 * 255, 255, np.uint16), (255 * 4095, 4095, np.uint32)],
)
def test_no_quotient_is_off_by_more_than_a_half(most: int, divisor: int, kind: type) -> None:
    # All sums of four levels, all composites over white, and all multiples that samples of 12 bits are.
    dividends = np.arange(0, most + 1, 255 if divisor == 4095 else 1, dtype=kind)
    levels = nearest_level(dividends, divisor)
    assert levels.dtype == np.uint8
    errors = [Fraction(int(dividend), divisor) - int(level) for dividend, level in zip(dividends, levels, strict=True)]
    # Halves go up.
    assert Fraction(-1, 2) <= min(errors)
    assert max(errors) < Fraction(1, 2)
