"""Full-reference image metrics, one file each."""

from rdbench.metrics.base import DerivedMetric, Metric, MetricUnavailableError
from rdbench.metrics.registry import UnknownMetricError, make_metric, metric_class, metric_names

__all__ = [
    "DerivedMetric",
    "Metric",
    "MetricUnavailableError",
    "UnknownMetricError",
    "make_metric",
    "metric_class",
    "metric_names",
]
