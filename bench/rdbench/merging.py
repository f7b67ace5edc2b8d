"""Merge two sets of rows: the ledger and a records.csv, or the results of two machines.

The rule: every row of either stays, told apart by key and label. A good row beats one that failed. Of two good rows
with different values the ledger's (or the first set's) stays, and that is said. Metrics that only one of two good
rows has are united where both are of one bitstream. No clock is asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rdbench.cell import Cell, differences, lost_metrics, with_metrics_of
from rdbench.text import cell_text

_SHOWN = 3
"""Rows with different values that are named one by one."""
_ROUNDED = 1e-6
"""Files of schema 1 hold six decimals."""
_NOT_IN_OLD = frozenset({"rate", "codec_options", "decode_options"})
"""What files of schema 1 hold in part only."""


@dataclass
class Merged:
    """What came of a merge.

    Attributes:
        cells: the rows to write: new ones, and those that changed.
        added: rows that only the second set had.
        better: rows that took the place of a failure, or brought metrics.
        different: a line for each row that has other values in the second set.
        lost: a line for each row of the second set whose metrics were left, being of another bitstream.
        missing: rows that only the first set has.
    """

    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    added: list[Cell] = field(default_factory=list)
    better: int = 0
    different: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    missing: list[Cell] = field(default_factory=list)


def merge(mine: Mapping[tuple[str, str], Cell], theirs: Iterable[Cell], rounded: set[tuple[str, str]]) -> Merged:
    """Merge a second set of rows into a first one.

    Args:
        mine: the first set, by identity.
        theirs: the second one's rows.
        rounded: identities of those rows of the second that come from a file of schema 1.
    """
    result = Merged()
    now = dict(mine)
    exact = {cell.key: cell for cell in mine.values() if not cell.error} if rounded else {}
    seen = set()
    for cell in theirs:
        identity = cell.identity
        seen.add(identity)
        old = now.get(identity)
        if old is None:
            if identity in rounded and cell.key in exact and not cell.error:
                # The same cell under another label: its values are here as they were measured.
                cell = replace(exact[cell.key], label=cell.label, codec_options=cell.codec_options)
            result.added.append(cell)
            result.cells[identity] = now[identity] = cell
            continue
        if cell.error:
            continue
        if old.error:
            result.better += 1
            result.cells[identity] = now[identity] = replace(cell, in_tables=old.in_tables)
            continue
        old_file = identity in rounded
        other = next(
            differences(old, cell, tolerance=_ROUNDED if old_file else 0.0, but=_NOT_IN_OLD if old_file else ()), None
        )
        if other is not None:
            name, first, second = other
            result.different.append(f"{old.place}: {name} {_plain(first)} is kept, not {_plain(second)}")
        gone = lost_metrics(cell, old)
        if gone:
            result.lost.append(f"{old.place}: {', '.join(gone)} of another bitstream")
        united = with_metrics_of(old, cell)
        if united is not old:
            result.better += 1
            result.cells[identity] = now[identity] = united
    result.missing = [cell for identity, cell in mine.items() if identity not in seen]
    return result


def conflicts(cells: Iterable[Cell]) -> dict[str, list[str]]:
    """Return label → its configurations (fingerprints), of the labels of which tables would show several."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.in_tables:
            found.setdefault(cell.label, {})[cell.fingerprint] = None
    return {label: list(fingerprints) for label, fingerprints in found.items() if len(fingerprints) > 1}


def listed(lines: Sequence[str]) -> str:
    """Return some lines as one, the first few in full."""
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cell_text(str(value))
