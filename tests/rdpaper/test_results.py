"""The claims in the README are those of the committed results."""

from pathlib import Path

from rdbench.records import load_records
from rdpaper.claims import judge_claims
from rdpaper.curves import PaperCurves
from rdpaper.tables import claim_rows

RESULTS = Path(__file__).parents[2] / "results"


def test_the_readme_shows_the_claims_as_they_were_measured() -> None:
    readme = (RESULTS.parent / "README.md").read_text()
    rows = claim_rows(judge_claims(PaperCurves(load_records(RESULTS / "aigc"))))
    assert len(rows) > 10
    for row in rows:
        assert f"| {' | '.join(row[name] for name in ('claim', 'document', 'ours', 'verdict', 'size'))} |" in readme
