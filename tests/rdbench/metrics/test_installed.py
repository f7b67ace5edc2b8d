import importlib.metadata

import pytest

from rdbench.metrics import MetricUnavailableError, metric_class
from rdbench.metrics.installed import package_version, packaged_file

PACKAGES = {
    "cvvdp": "cvvdp",
    "dists": "DISTS-pytorch",
    "flip": "flip-evaluator",
    "lpips_alex": "lpips",
    "haarpsi": "piq",
    "ms_ssim": "pytorch-msssim",
    "psnr_hvs_m": "psnr-hvsm",
    "ssimulacra2": "ssimulacra2",
}


def test_version():
    assert package_version("numpy") == importlib.metadata.version("numpy")


def test_package_missing():
    with pytest.raises(MetricUnavailableError) as caught:
        package_version("no-such-package-x")
    assert str(caught.value) == (
        "the package 'no-such-package-x' is not installed: pip install 'no-such-package-x', "
        "or everything for metrics with pip install 'rdbench[metrics]'"
    )


def test_file_missing():
    with pytest.raises(MetricUnavailableError, match=r"'numpy' \S+ has no file numpy/none.pth: install another"):
        packaged_file("numpy", "numpy/none.pth")


@pytest.mark.parametrize("name", PACKAGES)
def test_metric_without_its_package(name, monkeypatch):
    """Found out by `check`, before a run, not in the middle of one."""
    real = importlib.metadata.distribution

    def distribution(package):
        if package == PACKAGES[name]:
            raise importlib.metadata.PackageNotFoundError(package)
        return real(package)

    monkeypatch.setattr("rdbench.metrics.installed.distribution", distribution)
    with pytest.raises(MetricUnavailableError, match=f"the package '{PACKAGES[name]}' is not installed"):
        metric_class(name)().check()
