"""What it costs that a codec has processes of its own: to start them, and for each task."""

import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rdbench.describing import describe_codec
from rdbench.experiment import validate_experiment
from rdbench.hosting import Configuration, Lane
from rdbench.run import run
from small_images import QUANTIZER, write_images


@pytest.mark.parametrize("codec", ["jpeg", "vvenc", "hyperprior"])
def test_start_of_a_host(benchmark: Any, codec: str) -> None:
    described = describe_codec(codec, {}, limit_s=600, complete=True)
    assert described.fingerprint is not None
    wanted = Configuration(codec, {}, described.fingerprint)
    lane = Lane(threads=1)

    def start() -> None:
        lane.make_ready(wanted, "decode")

    benchmark.pedantic(start, setup=lambda: lane.renew(wanted), rounds=5)
    lane.close()


def test_own_time_of_a_task(benchmark: Any, tmp_path: Path) -> None:
    """Two workers, tasks of a codec that takes no time: what 800 more of them take beside codec and metric."""
    own = {}

    def both() -> None:
        for tasks in (200, 1000):
            write_images(tmp_path / str(tasks), tasks // 4)
            data = {"name": "tasks", "dataset": f"folder:{tmp_path / str(tasks)}", "metrics": ["psnr"]}
            codecs = [{"codec": QUANTIZER, "rates": [8, 16, 32, 64]}]
            experiment = validate_experiment(data | {"codecs": codecs})
            started = time.perf_counter()
            result = run(experiment, tmp_path / f"out{tasks}", workers=2, console=Console(quiet=True))
            assert (result.measured, result.failed) == (tasks, 0)
            assert result.harness_share is not None
            own[tasks] = 2 * result.wall_s * result.harness_share, time.perf_counter() - started

    benchmark.pedantic(both, rounds=1, iterations=1)
    benchmark.extra_info["own_ms_a_task"] = 1000 * (own[1000][0] - own[200][0]) / 800
