"""Where the names of curves go in a plot: beside their lines, clear of every other line and name."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, y upwards."""

_GAP = 7.0
"""Pixels between a line and its name."""
_CLEAR = 4
"""Pixels kept free between a name and any line that is not its own."""
_NEAR = 0.12
"""Share of the axes' width that counts as near the right edge."""
_REACH = (0.0, 16.0, 32.0)
"""How many pixels further from its line a name may go, tied to it by a leader."""


@dataclass(frozen=True)
class Line:
    """A drawn curve: its path in pixels, shape (P, 2), and the size of its name, in pixels."""

    path: Floats
    width: float
    height: float


@dataclass(frozen=True)
class Place:
    """Where a name goes.

    Attributes:
        x: left edge, in pixels.
        y: vertical centre, in pixels.
        leader: where a thin line to the name starts, or None where it needs none.
    """

    x: float
    y: float
    leader: tuple[float, float] | None = None


def margin_lines(lines: Sequence[Line], axes: Box) -> set[int]:
    """Return which lines end so near the right edge that their names go into the margin."""
    near = axes[2] - _NEAR * (axes[2] - axes[0])
    ends = [float(line.path[-1, 0]) for line in lines]
    return {i for i, x in enumerate(ends) if x >= near and x + _GAP + lines[i].width > axes[2]}


def margin_width(lines: Sequence[Line], margin: Iterable[int]) -> float:
    """Return how wide the margin right of the axes must be, in pixels, for the names that go there."""
    return max((lines[i].width + 4 * _GAP for i in margin), default=0.0)


def place_labels(lines: Sequence[Line], axes: Box, margin: Collection[int]) -> dict[int, Place]:
    """Return a place for the name of each line that there is room for.

    A name in the margin is at the height of its line's end; those names are moved apart up and down. Any
    other name goes inside the axes, next to its line, nearest to its end. A name that is not right beside its
    line is tied to it by a leader.

    Args:
        lines: what is drawn.
        axes: the axes' box.
        margin: the lines whose names go into the margin: `margin_lines`, and any that had no room inside.
    """
    places: dict[int, Place] = {}
    ends = [(float(line.path[-1, 0]), float(line.path[-1, 1])) for line in lines]
    outside = sorted(margin)
    column = _column([(ends[i][1], lines[i].height) for i in outside], axes)
    if column is None:
        return {}
    moved = [abs(y - ends[i][1]) > lines[i].height / 4 for i, y in zip(outside, column, strict=True)]
    x = axes[2] + _GAP * (2.5 if any(moved) else 1)
    for i, y, far in zip(outside, column, moved, strict=True):
        away = far or x - ends[i][0] > 4 * _GAP
        places[i] = Place(x, y, ends[i] if away else None)
    ink = _Ink([line.path for line in lines], axes)
    candidates = {i: _candidates(lines[i], i, ink, axes) for i in range(len(lines)) if i not in places}
    taken = [_box(lines[i], place) for i, place in places.items()]
    # lines with the least room choose first
    for i in sorted(candidates, key=lambda i: len(candidates[i])):
        free = (p for p in candidates[i] if not any(_meet(_box(lines[i], p), box) for box in taken))
        place = next(free, None)
        if place is not None:
            places[i] = place
            taken.append(_box(lines[i], place))
    return places


def _column(wanted: Sequence[tuple[float, float]], axes: Box) -> list[float] | None:
    """Return heights near the wanted ones (centre, name's height), in their order, that do not touch."""
    if not wanted:
        return []
    height = max(h for _, h in wanted)
    y0, y1 = axes[1] + height / 2, axes[3] - height / 2
    if height * (len(wanted) - 1) > y1 - y0:
        return None
    order = sorted(range(len(wanted)), key=lambda i: wanted[i][0])
    # isotonic regression of the centres less the room that those below need: pool adjacent violators
    pools: list[tuple[float, int]] = []
    for k, i in enumerate(order):
        mean, count = wanted[i][0] - k * height, 1
        while pools and pools[-1][0] > mean:
            other, members = pools.pop()
            mean, count = (mean * count + other * members) / (count + members), count + members
        pools.append((mean, count))
    base = [mean for mean, count in pools for _ in range(count)]
    top = y1 - (len(order) - 1) * height
    result = [0.0] * len(wanted)
    for k, i in enumerate(order):
        result[i] = min(max(base[k], y0), top) + k * height
    return result


def _box(line: Line, place: Place) -> Box:
    return place.x, place.y - line.height / 2, place.x + line.width, place.y + line.height / 2


def _candidates(line: Line, index: int, ink: "_Ink", axes: Box) -> list[Place]:
    """Return the places along a line that are within the axes and clear of all lines, the best first."""
    w, h = line.width, line.height
    points = _spaced(line.path, 12.0)
    last = len(points) - 1
    found: list[tuple[float, float, float, float, float]] = []
    for k, (x, y) in enumerate(points.tolist()):
        from_end = min(last - k, k + 6)  # the end is preferred to the start
        for more in _REACH:
            gap = _GAP + more
            side = 0.7 * gap if more else 0.0
            up = h / 2 + (0.7 * gap if more else gap)
            around = (
                (x + gap, y),
                (x - w / 2, y + h / 2 + gap),
                (x - w - side, y + up),
                (x + side, y + up),
                (x + side, y - up),
                (x - w / 2, y - h / 2 - gap),
                (x - w - side, y - up),
                (x - w - gap, y),
            )
            for rank, (left, centre) in enumerate(around):
                found.append((from_end + 0.1 * rank + 0.5 * more, left, centre, x, y))
    table = np.array(sorted(found))
    _, left, centre, x, y = table.T
    boxes = np.column_stack([left, centre - h / 2, left + w, centre + h / 2])
    low, high = np.array(axes[:2]), np.array(axes[2:])
    inside = (boxes[:, :2] >= low).all(axis=1) & (boxes[:, 2:] <= high).all(axis=1)
    free = inside & ~ink.covers(boxes, index)
    reach = np.hypot(np.clip(x, boxes[:, 0], boxes[:, 2]) - x, np.clip(y, boxes[:, 1], boxes[:, 3]) - y)
    return [
        Place(float(left[i]), float(centre[i]), (float(x[i]), float(y[i])) if reach[i] > _GAP + 1 else None)
        for i in np.flatnonzero(free)
    ]


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] + _CLEAR and b[0] < a[2] + _CLEAR and a[1] < b[3] and b[1] < a[3]


class _Ink:
    """Which pixels the lines cover."""

    def __init__(self, paths: Sequence[Floats], axes: Box) -> None:
        self._origin = np.array([axes[0], axes[1]])
        self._size = np.ceil([axes[2] - axes[0], axes[3] - axes[1]]).astype(int) + 1
        self._sums = [self._summed(path) for path in paths]

    def _summed(self, path: Floats) -> npt.NDArray[np.int64]:
        """Return the summed-area table of the pixels of a path."""
        mask = np.zeros(self._size, dtype=np.int64)
        at = np.round(_spaced(path, 0.7) - self._origin).astype(int)
        at = at[((at >= 0) & (at < self._size)).all(axis=1)]
        mask[at[:, 0], at[:, 1]] = 1
        return np.pad(mask.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))

    def covers(self, boxes: Floats, own: int) -> npt.NDArray[np.bool_]:
        """Return for each box (B, 4) whether a line runs through it, or one not its own close by."""
        covered = np.zeros(len(boxes), bool)
        for i, sums in enumerate(self._sums):
            pad = 0 if i == own else _CLEAR
            low = np.clip(np.floor(boxes[:, :2] - self._origin).astype(int) - pad, 0, self._size)
            high = np.clip(np.ceil(boxes[:, 2:] - self._origin).astype(int) + pad, 0, self._size)
            (x0, y0), (x1, y1) = low.T, high.T
            covered |= sums[x1, y1] - sums[x0, y1] - sums[x1, y0] + sums[x0, y0] > 0
        return covered


def _spaced(path: Floats, step: float) -> Floats:
    """Return points along a path, `step` pixels apart or a little less, with both its ends."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    at = np.linspace(0, length[-1], max(2, int(np.ceil(length[-1] / step)) + 1))
    return np.column_stack([np.interp(at, length, path[:, i]) for i in (0, 1)])
