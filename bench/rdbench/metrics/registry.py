"""Find metrics by name. A metric's module is imported only when the metric is asked for."""

import importlib

from rdbench.errors import BenchError, did_you_mean
from rdbench.metrics.base import DerivedMetric, Metric

_METRICS = {
    "clipiqa": "rdbench.metrics.no_reference:CLIPIQA",
    "cvvdp": "rdbench.metrics.cvvdp:CVVDP",
    "dists": "rdbench.metrics.dists:DISTS",
    "fsim": "rdbench.metrics.piq_metrics:FSIM",
    "flip": "rdbench.metrics.flip:FLIP",
    "gmsd": "rdbench.metrics.piq_metrics:GMSD",
    "haarpsi": "rdbench.metrics.piq_metrics:HaarPSI",
    "iw_ssim": "rdbench.metrics.piq_metrics:IWSSIM",
    "lpips_alex": "rdbench.metrics.lpips:LPIPSAlex",
    "lpips_squeeze": "rdbench.metrics.lpips:LPIPSSqueeze",
    "lpips_vgg": "rdbench.metrics.lpips:LPIPSVGG",
    "ms_ssim": "rdbench.metrics.ms_ssim:MSSSIM",
    "ms_ssim_db": "rdbench.metrics.ms_ssim:MSSSIMdB",
    "musiq": "rdbench.metrics.no_reference:MUSIQ",
    "niqe": "rdbench.metrics.no_reference:NIQE",
    "nlpd": "rdbench.metrics.nlpd:NLPD",
    "psnr": "rdbench.metrics.psnr:PSNR",
    "psnr_hvs_m": "rdbench.metrics.psnr_hvs_m:PSNRHVSM",
    "ssimulacra2": "rdbench.metrics.ssimulacra2:SSIMULACRA2",
    "st_lpips_alex": "rdbench.metrics.st_lpips:STLPIPSAlex",
    "st_lpips_vgg": "rdbench.metrics.st_lpips:STLPIPSVGG",
    "vif": "rdbench.metrics.piq_metrics:VIF",
    "vmaf": "rdbench.metrics.vmaf:VMAF",
}


class UnknownMetricError(BenchError, LookupError):
    """No metric of that name."""


def metric_names() -> list[str]:
    """Return the names of every metric, sorted."""
    return sorted(_METRICS)


def metric_class(name: str) -> type[Metric] | type[DerivedMetric]:
    """Return the class of a metric by its name.

    Raises:
        UnknownMetricError: no such metric; the message suggests the nearest name.
    """
    if name not in _METRICS:
        raise UnknownMetricError(did_you_mean("metric", name, _METRICS))
    module, _, attribute = _METRICS[name].partition(":")
    cls: type[Metric] | type[DerivedMetric] = getattr(importlib.import_module(module), attribute)
    if not issubclass(cls, Metric | DerivedMetric):
        raise TypeError(f"{cls!r} is not a metric")
    return cls


def make_metric(name: str) -> Metric:
    """Return a metric that compares two images.

    Raises:
        UnknownMetricError: no such metric, or one that follows from another.
        MetricUnavailableError: its weights or packages are missing.
    """
    cls = metric_class(name)
    metric = cls()
    if not isinstance(metric, Metric):
        raise UnknownMetricError(f"'{name}' cannot be measured by itself: it follows from another metric")
    return metric
