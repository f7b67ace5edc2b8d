"""The pages of findings show the figures of the committed records."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rdbench.bd import BDError, bd_rate
from rdbench.compare import paired_curves
from rdbench.curves import curve_data
from rdbench.records import load_records

RESULTS = Path(__file__).parents[2] / "results"
METRICS = {
    "PSNR": "psnr",
    "MS-SSIM": "ms_ssim",
    "ST-LPIPS": "st_lpips_alex",
    "SSIMULACRA2": "ssimulacra2",
    "VMAF": "vmaf",
    "FLIP": "flip",
}


def tables(page: str) -> list[list[list[str]]]:
    """Return the tables of BD-rates of a page: each a list of rows, each a list of cells, the header first."""
    found = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    ]
    return [table for table in found if table[0][0].startswith("BD-rate")]


def bd_rates(header: list[str], row: list[str], records: pd.DataFrame) -> list[str]:
    """Return a row's figures as its page has to show them."""
    names = [name.strip("`") for name in [*re.findall(r"`[^`]+`", header[0]), row[0]]]
    anchor, test = names if header[0].startswith("BD-rate against") else reversed(names)
    figures = []
    for title in header[1:]:
        try:
            base, new, _ = paired_curves(curve_data(records, anchor), curve_data(records, test), METRICS[title])
            rate = bd_rate(base, new)
        except BDError:
            figures.append("not defined")
            continue
        interval = f" ({rate.low:+.1f} to {rate.high:+.1f})" if np.isfinite(rate.low) else ""
        figures.append(f"{rate.value:+.1f} %{interval}")
    return figures


@pytest.mark.parametrize(("name", "rows"), [("kodak", 11), ("aigc", 10), ("independent", 4)])
def test_the_figures_on_a_page_of_findings_are_those_of_the_records(name: str, rows: int) -> None:
    folder = RESULTS / name
    found = tables((folder / "README.md").read_text())
    assert sum(len(table) - 2 for table in found) == rows
    records = load_records(folder)
    for header, _, *body in found:
        for row in body:
            assert row[1:] == bd_rates(header, row, records), f"{header[0]} {row[0]}"
