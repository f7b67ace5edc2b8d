"""Write the figures and the claims of a results folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rdbench.drawing import DrawError
from rdbench.files import atomic_text, make_folder
from rdbench.records import load_records
from rdpaper.claims import Judged, judge_claims
from rdpaper.curves import PaperCurves
from rdpaper.drawing import FORMATS
from rdpaper.figures import Drawn, draw_figures
from rdpaper.labels import Labels
from rdpaper.tables import claims_csv, claims_markdown, figures_markdown

FOLDER = "paper"
CSV, MARKDOWN = "claims.csv", "claims.md"


@dataclass(frozen=True)
class Paper:
    """What was written.

    Attributes:
        folder: where it lies.
        claims: every claim with its verdict.
        figures: every figure, drawn or not.
    """

    folder: Path
    claims: tuple[Judged, ...]
    figures: tuple[Drawn, ...]


def write_paper(
    results: Path | str,
    labels: Labels | None = None,
    *,
    perceptual: str | None = None,
    formats: Sequence[str] = FORMATS,
) -> Paper:
    """Write ``paper/`` into a results folder from its records.csv: the figures, claims.csv and claims.md.

    No codec runs. The same records give the same files, byte for byte. What was not measured is left out of the
    figures, and its claims cannot be tested.

    Args:
        results: the results folder.
        labels: which labels play the paper's parts.
        perceptual: the metric that stands for the paper's LPIPS; see `PaperCurves`.
        formats: of the figures, of `FORMATS`.

    Raises:
        RecordsError: there are no usable records.
        AbsentError: not one of the labels has rows.
        CurveError: there is no such metric.
        DrawError: the files cannot be written.
    """
    folder = Path(results)
    paper = PaperCurves(load_records(folder), labels, perceptual=perceptual)
    out = folder / FOLDER
    judged = judge_claims(paper)
    try:
        make_folder(folder, out)
    except OSError as error:
        raise DrawError(f"cannot write '{out}': {error.strerror or error}") from error
    drawn = draw_figures(paper, out, formats)
    texts = {
        CSV: claims_csv(judged),
        MARKDOWN: claims_markdown(judged, paper.labels) + "\n" + figures_markdown(drawn),
    }
    for name, text in texts.items():
        with atomic_text(out / name) as file:
            file.write(text)
    return Paper(out, tuple(judged), tuple(drawn))
