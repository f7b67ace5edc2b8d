"""What the harness costs beside the codecs, how it scales with workers, and whether memory grows with the dataset."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from rich.console import Console

from rdbench.experiment import validate_experiment
from rdbench.run import run
from small_images import QUANTIZER, write_images

QUIET = Console(quiet=True)


def vvenc(images: int) -> dict[str, Any]:
    """Return the data of an experiment bound by the processor."""
    return {
        "name": "perf",
        "dataset": "samples",
        "limit": images,
        "metrics": ["psnr", "ms_ssim"],
        "codecs": [{"codec": "vvenc", "rates": [42, 47, 52, 57]}],
    }


def test_the_harness_s_own_share_of_a_vvenc_run(benchmark: Any, tmp_path: Path) -> None:
    experiment = validate_experiment(vvenc(4))
    result = benchmark.pedantic(
        run, (experiment, tmp_path / "out"), {"workers": 1, "console": QUIET}, rounds=1, iterations=1
    )
    benchmark.extra_info["harness_share"] = result.harness_share
    # From start to end, worker start-up and tables included, not only within the worker.
    wall = benchmark.stats.stats.total
    benchmark.extra_info["outside_measuring_share"] = 1 - result.wall_s / wall


@pytest.mark.parametrize("workers", [1, 2])
def test_workers(benchmark: Any, tmp_path: Path, workers: int) -> None:
    experiment = validate_experiment(vvenc(6))
    result = benchmark.pedantic(
        run, (experiment, tmp_path / "out"), {"workers": workers, "console": QUIET}, rounds=1, iterations=1
    )
    assert result.failed == 0
    benchmark.extra_info["measuring_s"] = result.wall_s
    benchmark.extra_info["harness_share"] = result.harness_share


def peak_memory(command: list[str]) -> dict[str, int]:
    """Run a command and return the largest resident size seen of it and, in all, of its children, in bytes."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = {"parent": 0, "workers": 0}
    while process.poll() is None:
        try:
            peak["parent"] = max(peak["parent"], process.memory_info().rss)
            children = sum(child.memory_info().rss for child in process.children(recursive=True))
            peak["workers"] = max(peak["workers"], children)
        except psutil.NoSuchProcess:
            pass
        try:
            process.wait(0.05)
        except psutil.TimeoutExpired:
            continue
    assert process.returncode == 0
    return peak


def test_memory_does_not_grow_with_the_number_of_images(benchmark: Any, tmp_path: Path) -> None:
    peaks: dict[int, dict[str, int]] = {}

    def measure_both() -> None:
        for images in (20, 1000):
            folder = tmp_path / str(images)
            write_images(folder / "images", images, side=192)
            path = folder / "memory.yaml"
            data = {"name": "memory", "dataset": f"folder:{folder / 'images'}", "metrics": ["psnr", "ms_ssim"]}
            path.write_text(yaml.safe_dump(data | {"codecs": [{"codec": QUANTIZER}]}))
            command = [sys.executable, "-m", "rdbench", "run", str(path), "--out", str(folder / "out")]
            peaks[images] = peak_memory([*command, "--workers", "1"])

    benchmark.pedantic(measure_both, rounds=1, iterations=1)
    for who in ("parent", "workers"):
        benchmark.extra_info[f"{who}_mib_20"] = peaks[20][who] / 2**20
        benchmark.extra_info[f"{who}_mib_1000"] = peaks[1000][who] / 2**20
        benchmark.extra_info[f"{who}_ratio"] = peaks[1000][who] / peaks[20][who]
