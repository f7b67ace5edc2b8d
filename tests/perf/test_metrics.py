"""What a metric costs once per image, and once per reconstruction of it."""

import time
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from skimage import data

from rdbench.metrics import Metric, MetricUnavailableError, metric_class, metric_names
from rdcodecs import load_codec

MEASURED = [name for name in metric_names() if issubclass(metric_class(name), Metric)]


@pytest.mark.parametrize("name", MEASURED)
def test_metric(benchmark: Any, name: str) -> None:
    metric = metric_class(name)()
    assert isinstance(metric, Metric)
    try:
        metric.check()
    except MetricUnavailableError as error:
        pytest.skip(str(error))
    image = np.asarray(PILImage.fromarray(data.astronaut()).resize((768, 512)))
    codec = load_codec("jpeg")
    decoded = codec.decode(codec.encode(image, 20))
    metric.score(metric.prepare(image), decoded)  # weights and imports do not count
    start = time.process_time()
    prepared = metric.prepare(image)
    benchmark.extra_info["prepare_cpu_s"] = time.process_time() - start
    benchmark.pedantic(metric.score, (prepared, decoded), rounds=3)
