import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdbench.labels import Line, margin_lines, margin_width, place_labels

AXES = (60.0, 50.0, 460.0, 380.0)


def line(points, width=50.0, height=12.0):
    return Line(np.array(points, dtype=float), width, height)


def box(drawn, place):
    return place.x, place.y - drawn.height / 2, place.x + drawn.width, place.y + drawn.height / 2


def dense(path):
    t = np.linspace(0, len(path) - 1, 2000)
    return np.column_stack([np.interp(t, np.arange(len(path)), path[:, i]) for i in (0, 1)])


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_names_touch_neither_each_other_nor_another_line(seed, count):
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        x = np.sort(random.uniform(60, 460, 5))
        y = np.sort(random.uniform(50, 380, 5)) if random.uniform() < 0.7 else np.sort(random.uniform(50, 380, 5))[::-1]
        lines.append(line(np.column_stack([x, y]), random.uniform(15, 110)))
    margin = margin_lines(lines, AXES)
    places = place_labels(lines, AXES, margin)
    assert margin <= set(places)
    boxes = {i: box(lines[i], place) for i, place in places.items()}
    for i, (x0, y0, x1, y1) in boxes.items():
        assert AXES[1] - 1e-6 <= y0
        assert y1 <= AXES[3] + 1e-6
        if i in margin:
            assert AXES[2] < x0
            assert x1 <= AXES[2] + margin_width(lines, margin)
            continue
        assert AXES[0] <= x0
        assert x1 <= AXES[2]
        for other in lines:
            points = dense(other.path)
            within = (
                (points[:, 0] > x0 + 1) & (points[:, 0] < x1 - 1) & (points[:, 1] > y0 + 1) & (points[:, 1] < y1 - 1)
            )
            assert not within.any()
    for i, a in boxes.items():
        for j, b in boxes.items():
            if i < j:
                assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] - 1e-6 or b[1] >= a[3] - 1e-6


def test_a_lone_name_stands_right_of_its_lines_end():
    lone = line([(100, 100), (200, 200)])
    (place,) = place_labels([lone], AXES, margin_lines([lone], AXES)).values()
    assert place.leader is None
    assert 200 < place.x < 215
    assert place.y == pytest.approx(200)


def test_names_of_ends_at_one_height_move_apart_evenly():
    lines = [line([(100, 100 + 50 * i), (455, 220)]) for i in range(3)]
    places = place_labels(lines, AXES, margin_lines(lines, AXES))
    assert sorted(place.y for place in places.values()) == pytest.approx([208, 220, 232])
    assert len({place.x for place in places.values()}) == 1
    assert [place.leader is None for place in places.values()].count(True) == 1


def test_names_in_the_margin_keep_the_order_of_their_ends_and_stay_in_the_axes():
    ends = [376, 374, 379, 372, 60]
    lines = [line([(100, 200), (455, end)]) for end in ends]
    places = place_labels(lines, AXES, margin_lines(lines, AXES))
    assert np.argsort([places[i].y for i in range(5)]).tolist() == np.argsort(ends).tolist()
    assert max(place.y for place in places.values()) <= AXES[3] - 6
    assert places[4].y == pytest.approx(60)


def test_a_name_without_room_has_no_place():
    wide = line([(100, 100), (200, 200)], width=500)
    assert place_labels([wide], AXES, set()) == {}
    tall = [line([(100, 100), (455, 200)], height=200) for _ in range(3)]
    assert place_labels(tall, AXES, {0, 1, 2}) == {}


def test_only_names_that_do_not_fit_inside_go_into_the_margin():
    lines = [line([(70, 60), (455, 300)], 40), line([(70, 60), (430, 200)], 10), line([(70, 60), (300, 100)], 200)]
    assert margin_lines(lines, AXES) == {0}
    assert margin_width(lines, {0}) > 40
    assert margin_width(lines, set()) == 0
