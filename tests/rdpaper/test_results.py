"""The page of claims is that of the committed results."""

from pathlib import Path

from rdbench.records import load_records
from rdpaper.claims import judge_claims
from rdpaper.curves import PaperCurves
from rdpaper.tables import claim_rows

RESULTS = Path(__file__).parents[2] / "results"


def test_the_page_of_claims_is_that_of_the_records() -> None:
    page = (RESULTS / "aigc" / "paper" / "claims.md").read_text()
    rows = claim_rows(judge_claims(PaperCurves(load_records(RESULTS / "aigc"))))
    assert len(rows) > 10
    for row in rows:
        del row["key"]  # which is for programs
        assert f"| {' | '.join(row.values())} |" in page
