"""What holds for every metric."""

import math
import subprocess
import sys

import numpy as np
import pytest

from rdbench.metrics import DerivedMetric, Metric, metric_class, metric_names

SMALL = 161
"""A side that is enough for every metric."""

NO_REFERENCE = ["clipiqa", "musiq", "niqe"]
"""Their weights cannot be had here: see test_no_reference.py."""

MEASURED = [name for name in metric_names() if issubclass(metric_class(name), Metric) and name not in NO_REFERENCE]

IDENTICAL = {
    "cvvdp": 10.0,
    "dists": 0.0,
    "flip": 0.0,
    "fsim": 1.0,
    "gmsd": 0.0,
    "haarpsi": 1.0,
    "iw_ssim": pytest.approx(1.0, abs=1e-6),
    "lpips_alex": 0.0,
    "lpips_squeeze": 0.0,
    "lpips_vgg": 0.0,
    "ms_ssim": 1.0,
    "nlpd": 0.0,
    "psnr": math.inf,
    "psnr_hvs_m": 100.0,
    "ssimulacra2": 100.0,
    "st_lpips_alex": 0.0,
    "st_lpips_vgg": 0.0,
    "vif": 1.0,
    "vmaf": pytest.approx(97.4283, abs=1e-3),
}


def test_names_cover_the_registry():
    derived = [name for name in metric_names() if issubclass(metric_class(name), DerivedMetric)]
    assert derived == ["ms_ssim_db"]
    assert sorted(IDENTICAL) == MEASURED
    assert sorted([*MEASURED, *derived, *NO_REFERENCE]) == metric_names()


@pytest.mark.parametrize("name", metric_names())
def test_declaration(name):
    cls = metric_class(name)
    assert cls.name == name
    low, high = cls.range
    assert low < high
    assert isinstance(cls.higher_is_better, bool)
    assert cls.title
    assert cls.source


@pytest.mark.parametrize("name", MEASURED)
def test_identical_images(name, make, photo):
    image = photo[:SMALL, :SMALL]
    assert make(name)(image, image.copy()) == IDENTICAL[name]


# Without those whose backbones are random here: see test_lpips.py and test_dists.py.
@pytest.mark.parametrize("name", [name for name in MEASURED if not name.startswith(("lpips", "dists"))])
def test_follows_jpeg_quality(name, make, photo, jpeg):
    metric = make(name)
    prepared = metric.prepare(photo)
    values = [metric.score(prepared, jpeg(photo, quality)) for quality in (5, 20, 60, 95)]
    assert values == sorted(values, reverse=not metric.higher_is_better)
    assert len(set(values)) == len(values)
    assert all(type(value) is float for value in values)
    low, high = metric.range
    assert all(low <= value <= high for value in values)


@pytest.mark.parametrize("name", MEASURED)
def test_preparing_leaves_the_images_alone_and_serves_many_scores(name, make, photo, jpeg):
    metric = make(name)
    reference, image = photo[:SMALL, :SMALL].copy(), jpeg(photo, 40)[:SMALL, :SMALL].copy()
    prepared = metric.prepare(reference)
    first = metric.score(prepared, image)
    metric.score(prepared, reference)
    assert metric.score(prepared, image) == first
    np.testing.assert_array_equal(reference, photo[:SMALL, :SMALL])
    np.testing.assert_array_equal(image, jpeg(photo, 40)[:SMALL, :SMALL])


@pytest.mark.parametrize("name", MEASURED)
def test_smallest_size_is_defined_and_less_is_not(name, make):
    metric = make(name)
    side = metric.min_side
    assert side >= 16
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side + 3, 3), dtype=np.uint8)
    assert math.isfinite(metric(image, 255 - image))
    with pytest.raises(ValueError, match=rf"^{name} is not defined below {side}x{side} pixels$"):
        metric(image[:-1], 255 - image[:-1])


@pytest.mark.parametrize("name", MEASURED)
def test_images_of_different_size(name, make, photo):
    with pytest.raises(ValueError, match=rf"^{name}: the images differ in size, .*192, 240.*192, 239"):
        make(name)(photo, photo[:, :-1])


@pytest.mark.parametrize("name", MEASURED)
def test_images_that_are_views_and_read_only(name, make, photo, jpeg):
    """Arrays as they come from a decoder: not contiguous, not writable."""
    metric = make(name)
    views = [image[:SMALL, SMALL:0:-1] for image in (photo, jpeg(photo, 40))]
    copies = [np.ascontiguousarray(view) for view in views]
    for view in views:
        view.setflags(write=False)
    assert metric(*views) == metric(*copies)


@pytest.mark.parametrize("name", MEASURED)
def test_global_torch_state_is_left_alone(name, make, photo):
    import torch

    def state():
        return (
            torch.random.get_rng_state().numpy().tobytes(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        )

    before = state()
    metric = make(name)
    metric(photo[:SMALL, :SMALL], photo[:SMALL, :SMALL])
    assert state() == before


def test_planning_a_run_imports_no_torch():
    """Names, directions, availability and fingerprints: asked for even in a run that has nothing to do."""
    script = """
import json, sys
from rdbench.metrics import DerivedMetric, MetricUnavailableError, metric_class, metric_names
for name in metric_names():
    cls = metric_class(name)
    assert cls.title and cls.range and cls.source, name
    if issubclass(cls, DerivedMetric):
        continue
    metric = cls()
    try:
        metric.check()
    except MetricUnavailableError:
        assert name.startswith(("lpips", "dists", "clipiqa", "musiq", "niqe")), name
        continue
    json.dumps(dict(metric.fingerprint()))
heavy = {"torch", "torchvision", "lpips", "stlpips_pytorch", "pytorch_msssim", "scipy", "flip_evaluator",
    "piq", "pycvvdp", "psnr_hvsm", "pyiqa", "safetensors"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={
            "PYTHONPATH": ":".join(sys.path),
            "PATH": "/usr/bin:/bin",
            "TORCH_HOME": "/none",
            "RDBENCH_CACHE": "/none",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
