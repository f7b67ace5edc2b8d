"""A small share of the campaign's kills."""

import pytest
from tests.campaign import kills


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_share_of_the_kills() -> None:
    for figures in kills.run(3, 2):
        assert figures.good, figures.failures
