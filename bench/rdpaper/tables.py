"""The claims as CSV, as Markdown and as rows for a page."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from rdbench.tables import table_text
from rdbench.text import printable
from rdpaper.claims import Judged
from rdpaper.estimates import Estimate
from rdpaper.figures import Drawn
from rdpaper.labels import Labels

_DECIMALS = {"%": 1, "dB": 2, "": 4}
_PREAMBLE = """\
Intervals are of 95 %, by the jackknife over the images, paired: each image is left out of both curves at once.
A claim *holds* where the whole interval lies where its test says. It *does not hold* where no part of the interval
does, or where only a part does and the interval leaves out the paper's own figure. Otherwise these images do not
decide it, and it *cannot be tested here*, as where something was not measured. The *size* holds where the claim does
and the paper's figure is in the interval, and does not where it is not. The bounds that stand for the paper's
words ("marginal", "clearly", "comparable") are ours.

A relative BD-quality is the mean difference of the two curves over log rate, over the rates that both cover, divided by
the anchor's mean there: positive where the codec is better, whatever the metric's direction.
"""


def claims_csv(judged: Sequence[Judged]) -> str:
    """Return the table of claims.csv, a row a claim.

    Columns: claim, text, document, metric, statistic, ours, low, high (of the 95 % interval), unit, n_images, verdict,
    rule, size, size_rule (empty where the paper gives no size), note.
    """
    rows = []
    for row in judged:
        estimate = row.estimate or Estimate(math.nan, math.nan, math.nan, row.claim.unit, 0)
        rows.append(
            {
                "claim": row.claim.key,
                "text": row.claim.text,
                "document": row.claim.document,
                "metric": row.metric,
                "statistic": row.claim.statistic.format(metric=_title(row)),
                "ours": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "unit": row.claim.unit,
                "n_images": estimate.n_images,
                "verdict": row.verdict,
                "rule": row.claim.rule,
                "size": row.size or "",
                "size_rule": row.claim.size_rule,
                "note": _note(row),
            }
        )
    return table_text(pd.DataFrame(rows), figures=["document"])


def claims_markdown(judged: Sequence[Judged], labels: Labels) -> str:
    """Return the claims as a Markdown table, with what a reader needs to read it."""
    columns = {
        "claim": "Claim",
        "document": "Paper",
        "ours": "Ours (95 % interval)",
        "images": "Images",
        "verdict": "Verdict",
        "size": "Size",
        "test": "Test",
        "note": "Note",
    }
    lines = [_line(columns.values()), _line("---" for _ in columns)]
    lines += [_line(row[name] for name in columns) for row in claim_rows(judged)]
    return "\n".join([_PREAMBLE, _renamed(labels), *lines, ""])


def claim_rows(judged: Sequence[Judged]) -> list[dict[str, str]]:
    """Return the claims as text to show, a dict a claim.

    Keys: key, claim, document, ours (figure, unit and interval; "-" where there is none), images, verdict, size
    ("-" where the paper gives none), test (statistic, metric and rule), note. Nothing is escaped for any format.
    """
    return [
        {
            "key": row.claim.key,
            "claim": row.claim.text,
            "document": row.claim.document,
            "ours": _figure(row.estimate),
            "images": str(row.estimate.n_images) if row.estimate else "-",
            "verdict": str(row.verdict),
            "size": str(row.size) if row.size else "-",
            "test": _test(row),
            "note": _note(row),
        }
        for row in judged
    ]


def _figure(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    places = _DECIMALS.get(estimate.unit, 4)
    text = f"{estimate.value:+.{places}f}" + (f" {estimate.unit}" if estimate.unit else "")
    if math.isnan(estimate.low):
        return text
    return f"{text} ({estimate.low:+.{places}f} to {estimate.high:+.{places}f})"


def _title(row: Judged) -> str:
    return row.metric or "LPIPS"  # the only one that may be missing altogether


def _test(row: Judged) -> str:
    text = row.claim.test(_title(row))
    return text[:1].upper() + text[1:]


def _note(row: Judged) -> str:
    return "; ".join(dict.fromkeys(row.notes))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(printable(cell.replace("|", "\\|").replace("\n", " "), None) for cell in cells) + " |"


def _renamed(labels: Labels) -> str:
    """Return which labels of the records play the paper's parts."""
    parts = {
        "Ours": labels.ours,
        "Ours-AE": labels.additive,
        "Ours-FE": labels.unrenormalized,
        "PerCo": labels.perco,
        "VVC": f"{labels.vtm}, or {labels.vvenc} where that is missing",
    }
    return "Labels: " + "; ".join(f"{part} is {label}" for part, label in parts.items() if part != label) + ".\n"


def figures_markdown(figures: Sequence[Drawn]) -> str:
    """Return the figures that were drawn, with captions, and why the others were not."""
    parts = []
    for figure in figures:
        name = f"Figure {figure.number}"
        notes = printable("; ".join(figure.notes), None)
        said = f"{notes[:1].upper()}{notes[1:]}." if notes else ""
        picture = next((file for file in figure.files if file.suffix in (".svg", ".png")), None)
        if picture is not None:
            parts.append(f"![{figure.caption}]({picture.name})\n\n**{name}.** {figure.caption}. {said}".rstrip())
        elif not figure.files:
            parts.append(f"**{name}** ({figure.caption}) was not drawn. {said}".rstrip())
    return "\n\n".join(parts) + "\n"
