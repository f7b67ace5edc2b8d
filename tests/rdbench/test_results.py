"""The committed results agree with what others published, as far as they claim to."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rdbench.available import available_entries
from rdbench.bd import bd_rate
from rdbench.compare import paired_curves
from rdbench.curves import curve_data
from rdbench.experiment import CodecEntry
from rdbench.interop import load_published
from rdbench.records import load_records
from rdcodecs.registry import is_shipped

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
    assert abs(bd_rate(anchor, test, resamples=0).value) < 1.5


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


@pytest.mark.parametrize("name", ["kodak", "aigc"])
def test_codecs_that_ship_have_the_fingerprints_they_had(name: str) -> None:
    """What was measured stays known, where the libraries are those it was measured with."""
    provenance = json.loads((RESULTS / name / "provenance.json").read_text())
    entries = [CodecEntry.model_validate(entry) for entry in provenance["experiment"]["codecs"]]
    ready, _ = available_entries(entry for entry in entries if is_shipped(entry.codec))
    compared = []
    for label, codec in ready.items():
        before = provenance["codecs"][label]
        assert set(codec.fingerprint) == set(before["fingerprint"]), "no key is new, none is gone"
        if codec.fingerprint == before["fingerprint"]:
            assert codec.digest == before["digest"]
            compared.append(label)
    assert compared, "the weights that ship are those of the results"


def test_the_table_in_the_readme_is_that_of_the_results() -> None:
    bd = pd.read_csv(RESULTS / "kodak" / "bd.csv").set_index(["label", "metric"])
    lines = [line.split("|") for line in (RESULTS.parent / "README.md").read_text().splitlines() if " to " in line]
    table = [cells for cells in lines if len(cells) == 6]
    assert len(table) == 10
    for _, label, *figures, _ in table:
        for metric, figure in zip(["psnr", "ms_ssim", "st_lpips_alex"], figures, strict=True):
            row = bd.loc[(label.strip(" `"), metric)]
            expected = f"{row['bd_rate']:+.1f} % ({row['bd_rate_low']:+.1f} to {row['bd_rate_high']:+.1f})"
            assert figure.strip() == expected
