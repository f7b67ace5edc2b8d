"""A run in which everything is known: it has to feel instant."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(("images", "rates"), [(50, 20), (1000, 100)], ids=["1000 cells", "100000 cells"])
def test_a_run_in_which_everything_is_known(
    benchmark: Any, known_run: Callable[[int, int], list[str]], images: int, rates: int
) -> None:
    command = [sys.executable, *known_run(images, rates)]
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}

    def again() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stderr

    printed = again()  # the first one writes the tables and plots
    assert "0 measured, 0 failed" in printed
    assert f"{images * rates} known" in printed
    benchmark.pedantic(again, rounds=3, iterations=1)
