from pathlib import Path

import numpy as np
import pytest

from rdbench.bd import NotMonotoneError, TooFewPointsError, bd_rate
from rdbench.curves import CurveError, metric_info
from rdbench.interop import InteropError, load_published, published_names

ROOT = Path(__file__).parents[3]


def test_the_figures_of_compressai_are_what_they_were():
    vtm = load_published("published/compressai-kodak/vtm", ROOT)
    assert vtm.name == "VTM (CompressAI)"
    psnr, ms_ssim = vtm.curve("psnr"), vtm.curve("ms_ssim")
    np.testing.assert_allclose(psnr.bpp, [0.0482, 0.1125, 0.2458, 0.4905, 0.8748, 1.4308, 2.3246, 3.6326], atol=5e-5)
    np.testing.assert_allclose(
        psnr.quality, [26.145, 28.493, 31.200, 34.262, 37.420, 40.424, 43.506, 46.592], atol=5e-4
    )
    np.testing.assert_allclose(
        ms_ssim.quality, [0.8606, 0.9177, 0.9561, 0.9781, 0.9888, 0.9939, 0.9969, 0.9987], atol=5e-5
    )
    assert psnr.rates.tolist() == [47, 42, 37, 32, 27, 22, 17, 12]


def test_the_figures_of_diffeic_are_what_they_were():
    vtm = load_published("published/diffeic/kodak/vtm", ROOT)
    by_qp = {rate: i for i, rate in enumerate(vtm.rates)}
    for qp, bpp, psnr, ms_ssim, lpips in [
        (41, 0.1328, 28.95, 0.9275, 0.2966),
        (47, 0.0480, 26.09, 0.8608, 0.4474),
        (52, 0.0205, 24.02, 0.7850, 0.5693),
    ]:
        i = by_qp[qp]
        found = [vtm.bpp[i], *(vtm.values[m][i] for m in ("psnr", "ms_ssim", "lpips"))]
        assert found == pytest.approx([bpp, psnr, ms_ssim, lpips], abs=5e-5)
    perco = load_published("published/diffeic/kodak/PerCo", ROOT)
    assert perco.curve("lpips").quality == pytest.approx([0.2965, 0.1433], abs=5e-5)


def test_an_lpips_of_unknown_backbone_is_none_of_ours():
    points = load_published("published/diffeic/kodak/HiFiC", ROOT)
    assert not [name for name in points.metrics if name.startswith("lpips_")]
    with pytest.raises(CurveError, match="has no lpips_alex"):
        points.curve("lpips_alex")


def test_a_ceiling_without_a_rate_is_not_a_curve():
    ceiling = load_published("published/diffeic/kodak/sd-encoder", ROOT)
    assert ceiling.values["psnr"].tolist() == [26.65]
    assert ceiling.metrics == []
    with pytest.raises(CurveError, match="it has no metric with a rate"):
        ceiling.curve("psnr")


def test_the_traps_in_real_tables_are_found():
    vtm = load_published("published/diffeic/clic2020/VTM", ROOT).curve("psnr")
    with pytest.raises(NotMonotoneError, match=r"psnr of 'DiffEIC \(DiffEIC\)' goes from 25\.31 to 24\.38"):
        bd_rate(vtm, load_published("published/diffeic/clic2020/DiffEIC", ROOT).curve("psnr"))
    with pytest.raises(TooFewPointsError):
        bd_rate(vtm, load_published("published/diffeic/clic2020/PerCo", ROOT).curve("psnr"))


@pytest.mark.parametrize("name", published_names(ROOT))
def test_every_file_names_its_source_and_loads(name):
    points = load_published(name, ROOT)
    assert points.source
    assert points.dataset
    assert points.meta["url"].startswith("https://github.com/")
    assert (points.bpp[~np.isnan(points.bpp)] > 0).all()
    for metric in points.values:
        metric_info(metric)


def test_names_are_found_in_any_case_and_without_prefix():
    assert load_published("COMPRESSAI-kodak/vtm", ROOT).name == "VTM (CompressAI)"
    with pytest.raises(InteropError, match="did you mean 'published/compressai-kodak/vtm'"):
        load_published("published/compressai-kodak/vtn", ROOT)


def test_where_the_folder_is_looked_for(tmp_path, monkeypatch):
    folder = tmp_path / "results" / "published" / "mine"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text('{"name": "X", "results": {"bpp": [0.1], "psnr-rgb": [30]}}')
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert load_published("published/mine/x", deep).name == "X"
    assert load_published("published/mine/x", tmp_path / "results").name == "X"
    monkeypatch.chdir(deep)
    assert published_names() == ["published/mine/x"]
    assert load_published(str(folder / "x.json")).name == "X"


def test_no_folder_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr("rdbench.interop.published.__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    with pytest.raises(InteropError, match="no results/published in or above") as caught:
        load_published("published/compressai-kodak/vtm", tmp_path)
    assert "\n" not in str(caught.value)
