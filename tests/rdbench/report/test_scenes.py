"""Matched rates, and the crop in which codecs differ most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdbench.report.scenes import TOLERANCE, matched_rates, most_disputed, rmse

RATES = st.lists(st.floats(0.01, 4), min_size=1, max_size=5)


def test_rates_are_those_at_which_all_curves_have_a_point() -> None:
    curves = {"a": [0.1, 0.4, 1.0], "b": [0.11, 0.3, 0.95], "c": [0.02, 0.1, 3.0]}
    low, high = matched_rates(curves)
    assert low.points == {"a": 0, "b": 0, "c": 1}
    assert low.bpp == 0.1, "the point whose mean squared log distance to the others is least"
    assert high.points == {"a": 2, "b": 2}


def test_curves_without_a_common_rate_are_matched_with_themselves() -> None:
    assert [dict(match.points) for match in matched_rates({"a": [0.1], "b": [1.0]})] == [{"a": 0}, {"b": 0}]
    assert matched_rates({}) == []
    assert matched_rates({"free": [0.0]}) == []


@given(st.dictionaries(st.sampled_from("abcd"), RATES, min_size=1))
def test_matched_points_are_near_their_target(curves: dict[str, list[float]]) -> None:
    found = matched_rates(curves)
    assert 1 <= len(found) <= 2
    assert len({tuple(sorted(match.points.items())) for match in found}) == len(found)
    for match in found:
        for name, i in match.points.items():
            ratio = curves[name][i] / match.bpp
            assert 1 / TOLERANCE - 1e-9 <= ratio <= TOLERANCE + 1e-9
            assert abs(np.log(ratio)) <= min(abs(np.log(np.array(curves[name]) / match.bpp))) + 1e-12
    assert [match.bpp for match in found] == sorted(match.bpp for match in found)


def test_the_crop_is_where_a_direct_search_finds_it() -> None:
    random = np.random.default_rng(3)
    original = random.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    decoded = []
    for strength in (4, 12, 40):
        noise = random.integers(-strength, strength + 1, original.shape) * (random.random((70, 90, 1)) < 0.2)
        decoded.append(np.clip(original + noise, 0, 255).astype(np.uint8))
    size = (24, 40)
    best = max(
        (float(np.std([rmse(original[y : y + 24, x : x + 40], d[y : y + 24, x : x + 40]) for d in decoded])), -y, -x)
        for y in [*range(0, 47, 8), 46]
        for x in [*range(0, 51, 8), 50]
    )
    top, left, spread = most_disputed(original, decoded, size)
    assert (top, left) == (-best[1], -best[2])
    assert spread == pytest.approx(best[0])


def test_one_codec_alone_shows_where_it_is_worst() -> None:
    original = np.full((64, 64, 3), 100, np.uint8)
    decoded = original.copy()
    decoded[40:48, 8:16] = 140
    top, left, error = most_disputed(original, [decoded], (16, 16))
    assert top <= 40 <= top + 8
    assert left <= 8 <= left + 8
    assert error == pytest.approx(20)


def test_an_image_no_larger_than_the_crop_is_shown_whole() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    assert most_disputed(image, [image, image], (16, 16)) == (0, 0, 0.0)
