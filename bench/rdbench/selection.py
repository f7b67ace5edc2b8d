"""Which rows tables show: exactly what was planned, and of other labels what was last shown of them.

A row that tables do not show stays in the ledger and in records.csv; `hidden_rows` names what these are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rdbench.cell import Cell, best_by_key
from rdbench.keys import canonical_json
from rdbench.text import counted

HASH_DIGITS = 12
"""Digits of an image's digest in a cell's `image_hash`."""


@dataclass
class Shown:
    """What tables show of one label.

    Attributes:
        fingerprint: the codec's configuration.
        points: [rate, decode options as JSON] of each point of its curves.
    """

    fingerprint: str
    points: list[list[Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """The rows of a folder, each saying whether tables show it.

    Attributes:
        cells: all of them; those that are shown carry the plan's names of images, labels and options.
        shown: label → what is shown of it, also of labels that have no row on these images.
    """

    cells: Sequence[Cell]
    shown: Mapping[str, Shown]


def select(
    cells: Sequence[Cell],
    planned: Sequence[Cell],
    images: Mapping[str, str],
    dataset: str,
    before: Mapping[str, Shown],
) -> Selection:
    """Choose the rows that tables show, never two configurations under one label.

    Of a label that is planned these are the planned cells. Of one that is not (its codec cannot run on this machine,
    or was not asked for this time) they are the rows, on the planned images, of the configuration and the points that
    tables showed last.

    Args:
        cells: the ledger's, the oldest first.
        planned: the plan's cells.
        images: digest of each planned image (`HASH_DIGITS` of it) → its name.
        dataset: the dataset's name.
        before: label → what tables showed of it last, where that is noted.
    """
    best = best_by_key(cells)
    chosen: dict[tuple[str, str], Cell] = {}
    shown: dict[str, Shown] = {}
    for plan in planned:
        shown.setdefault(plan.label, Shown(plan.fingerprint))
        cell = best.get(plan.key)
        if cell is not None:
            chosen[plan.identity] = replace(
                cell,
                encode_key=plan.encode_key,
                label=plan.label,
                codec=plan.codec,
                fingerprint=plan.fingerprint,
                image=plan.image,
                image_hash=plan.image_hash,
                dataset=dataset,
                rate=plan.rate,
                codec_options=plan.codec_options,
                decode_options=plan.decode_options,
                in_tables=True,
            )
    for plan in planned:
        shown[plan.label].points.append(_point(plan))
    others = [cell for cell in cells if cell.label not in shown]
    last = last_shown(others, {label: what for label, what in before.items() if label not in shown})
    points = {label: {tuple(point) for point in what.points} for label, what in last.items()}
    taken = set()
    # Of two rows of one point, the one that was shown, then the newer; but none that failed before one that did not.
    newest_first = others[::-1]
    for cell in sorted(newest_first, key=lambda cell: (bool(cell.error), not cell.in_tables)):
        name = images.get(cell.image_hash)
        what = last.get(cell.label)
        if what is None or name is None or cell.fingerprint != what.fingerprint:
            continue
        point = tuple(_point(cell))
        if point in points[cell.label] and (cell.label, name, point) not in taken:
            taken.add((cell.label, name, point))
            chosen[cell.identity] = replace(cell, image=name, dataset=dataset, in_tables=True)
    known = {cell.identity for cell in cells}
    added = [cell for identity, cell in chosen.items() if identity not in known]
    result = [chosen.get(cell.identity) or replace(cell, in_tables=False) for cell in cells]
    return Selection([*result, *added], shown | last)


def hidden_rows(selection: Selection, images: Iterable[str]) -> str:
    """Return one line on the rows that tables do not show, "" where there are none.

    Args:
        selection: what `select` returned.
        images: digests of the planned images.
    """
    planned = set(images)
    kinds: Counter[str] = Counter()
    others = set()
    for cell in selection.cells:
        if cell.in_tables:
            continue
        what = selection.shown.get(cell.label)
        if cell.image_hash not in planned:
            kinds["of {} other image{}"] += 1
            others.add(cell.image_hash)
        elif what is None:
            kinds["of labels that have several configurations"] += 1
        elif cell.fingerprint != what.fingerprint:
            kinds["of other configurations of a codec"] += 1
        else:
            kinds["of other rates or decode options"] += 1
    if not kinds:
        return ""
    parts = [f"{n} {kind.format(len(others), 's' * (len(others) != 1))}" for kind, n in sorted(kinds.items())]
    total = sum(kinds.values())
    return (
        f"records.csv also holds {counted(total, 'row')} that no table or plot shows: {', '.join(parts)} "
        "(`rdbench drop FOLDER --unused` removes them)"
    )


def last_shown(cells: Iterable[Cell], noted: Mapping[str, Shown]) -> dict[str, Shown]:
    """Return what tables show of each label: by its rows, of the newest where these are of two configurations.

    Args:
        cells: rows, the oldest first.
        noted: what was noted of labels when tables were last written: also of points without a row in them now.
    """
    result: dict[str, Shown] = {}
    for cell in reversed([cell for cell in cells if cell.in_tables]):
        what = result.setdefault(cell.label, Shown(cell.fingerprint))
        if what.fingerprint == cell.fingerprint and _point(cell) not in what.points:
            what.points.append(_point(cell))
    for label, what in noted.items():
        mine = result.setdefault(label, Shown(what.fingerprint))
        if mine.fingerprint == what.fingerprint:
            mine.points += [point for point in what.points if point not in mine.points]
    return result


def _point(cell: Cell) -> list[Any]:
    return [cell.rate, canonical_json(cell.decode_options)]
