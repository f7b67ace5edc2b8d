"""Full-reference image metrics, one file each."""

from rdbench.metrics.base import DerivedMetric, Metric, MetricUnavailableError, UndefinedScoreError
from rdbench.metrics.registry import UnknownMetricError, make_metric, metric_class, metric_names

__all__ = [
    "DerivedMetric",
    "Metric",
    "MetricUnavailableError",
    "UndefinedScoreError",
    "UnknownMetricError",
    "make_metric",
    "metric_class",
    "metric_names",
]
