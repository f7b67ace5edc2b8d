"""The committed results agree with what others published, as far as they claim to."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rdbench.bd import bd_rate, paired_curves
from rdbench.curves import curve_data
from rdbench.interop import load_published
from rdbench.records import load_records

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED_QP = [47, 42, 37]  # the three lowest rates of CompressAI's VTM curve


@pytest.fixture(scope="module")
def kodak() -> pd.DataFrame:
    """Return the committed records."""
    return load_records(RESULTS / "kodak")


def test_vtm_agrees_with_the_published_points(kodak: pd.DataFrame) -> None:
    published = load_published("published/compressai-kodak/vtm", RESULTS)
    measured = kodak[kodak["label"] == "vtm"].groupby("rate")[["bpp", "psnr"]].mean()
    for i, qp in enumerate(PUBLISHED_QP):
        assert measured.loc[qp, "bpp"] == pytest.approx(published.bpp[i], rel=0.02)
        assert measured.loc[qp, "psnr"] == pytest.approx(published.values["psnr"][i], abs=0.10)


def test_vtm_agrees_with_the_published_curve(kodak: pd.DataFrame) -> None:
    published = load_published("published/compressai-kodak/vtm", RESULTS)
    anchor, test, _ = paired_curves(published, curve_data(kodak, "vtm"), "psnr")
    assert abs(bd_rate(anchor, test, interval=False).value) < 1.5


@pytest.mark.parametrize(("name", "images"), [("kodak", 24), ("aigc", 19)])
def test_every_cell_was_measured(name: str, images: int) -> None:
    records = load_records(RESULTS / name)
    assert records["image"].nunique() == images
    assert (records["error"] == "").all()
    assert np.isfinite(records[["bpp", "psnr", "ms_ssim", "st_lpips_alex"]]).all(axis=None)
    assert (records.groupby(["label", "rate"])["image"].nunique() == images).all()
    assert set(records["label"]) >= {"vtm", "vvenc", "heic", "avif", "jxl", "jpeg2000", "webp", "jpeg", "hyperprior"}
    sizes = records["width"] * records["height"]
    assert np.allclose(records["bpp"], 8 * records["bytes"] / sizes, atol=1e-6)
