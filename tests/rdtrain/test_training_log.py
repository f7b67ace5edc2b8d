"""The log of the shipped weights: a summary, and a page for each step."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SUMMARY = DOCS / "TRAINING-LOG.md"
PAGES = sorted((DOCS / "training-log").glob("*.md"))


def targets(text: str) -> set[str]:
    """What links, inline or by reference, lead to."""
    return set(re.findall(r"\]\(([^)#]+)", text)) | set(re.findall(r"^\[\w+\]: (\S+)$", text, re.MULTILINE))


def test_every_step_has_a_page_and_the_summary_leads_to_it() -> None:
    numbers = [int(page.name[:2]) for page in PAGES]
    assert numbers == list(range(1, len(PAGES) + 1))
    assert len(PAGES) >= 37
    assert targets(SUMMARY.read_text()) >= {f"training-log/{page.name}" for page in PAGES}
    for number, page in zip(numbers, PAGES, strict=True):
        assert page.read_text().startswith(f"# Step {number}. ")


@pytest.mark.parametrize("page", [SUMMARY, *PAGES], ids=lambda page: page.stem)
def test_pages_are_readable_and_their_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert all((page.parent / target).is_file() for target in targets(text))
    defined = set(re.findall(r"^\[(\d+)\]: ", text, re.MULTILINE))
    assert set(re.findall(r"\[(\d+)\](?![(:])", text)) <= defined
