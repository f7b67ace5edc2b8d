"""Full-reference image metrics, one file each."""

from rdbench.metrics.base import DerivedMetric, Metric, MetricUnavailableError
from rdbench.metrics.registry import UnknownMetricError, metric_class, metric_names

__all__ = [
    "DerivedMetric",
    "Metric",
    "MetricUnavailableError",
    "UnknownMetricError",
    "metric_class",
    "metric_names",
]
