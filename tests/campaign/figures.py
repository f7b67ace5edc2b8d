"""What a part of the campaign found, and the table of all parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

_SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Figures:
    """What was tried of one kind, and how much of it held.

    Attributes:
        name: of the kind, e.g. "damaged streams: jpeg".
        tried: how many cases.
        held: how many of them did what is promised.
        failures: one line for each case that did not, with what is needed to make it again.
        notes: what else is worth telling, a short line each.
    """

    name: str
    tried: int
    held: int
    failures: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all held."""
        return self.held == self.tried and not self.failures


def table(figures: Sequence[Figures]) -> str:
    """Return the figures as a table in Markdown, with a line of sums, and the failures below it."""
    rows = [(item.name, f"{item.tried:,}", f"{item.held:,}", "; ".join(item.notes)) for item in figures]
    tried, held = sum(item.tried for item in figures), sum(item.held for item in figures)
    rows.append(("all", f"{tried:,}", f"{held:,}", ""))
    lines = ["| what | tried | held | notes |", "|---|---:|---:|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    for item in figures:
        if item.failures:
            lines += ["", f"{item.name}: {len(item.failures)} did not hold"]
            lines += [f"  {failure}" for failure in item.failures[:_SHOWN_FAILURES]]
            if len(item.failures) > _SHOWN_FAILURES:
                lines.append(f"  and {len(item.failures) - _SHOWN_FAILURES} more")
    return "\n".join(lines)
