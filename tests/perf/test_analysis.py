"""From rows to tables: it must not be what a run waits for."""

from pathlib import Path
from typing import Any

import pytest

from formula_records import make_records
from rdbench.compare import bd_table
from rdbench.records import load_records, summary

METRICS = ("psnr", "ms_ssim", "lpips_alex", "lpips_vgg", "lpips_squeeze", "st_lpips_alex", "st_lpips_vgg", "flip")


def make(images: int) -> Any:
    """Return records of 11 labels, 5 rates and 9 metrics."""
    records = make_records({f"codec{i}": (1 + 0.05 * i, 0) for i in range(11)}, images=images, points=5, noise=0.01)
    for name in METRICS[3:]:
        records[name] = records["lpips_alex"]
    records["ssimulacra2"] = 3 * records["psnr"] - 40
    return records


@pytest.mark.parametrize("images", [24, 1818], ids=["1,320 rows", "100,000 rows"])
def test_bd_table(benchmark: Any, images: int) -> None:
    records = make(images)
    bd_table(records, "codec0")  # imports do not count
    table = benchmark.pedantic(bd_table, (records, "codec0"), rounds=2)
    assert len(table) == 10 * 9
    assert table["bd_rate_low"].notna().all()


def test_load_and_summarise(benchmark: Any, tmp_path: Path) -> None:
    make(1818).to_csv(tmp_path / "records.csv", index=False)
    table = benchmark.pedantic(lambda: summary(load_records(tmp_path)), rounds=2)
    assert len(table) == 11 * 5
    assert (table["n_images"] == 1818).all()
