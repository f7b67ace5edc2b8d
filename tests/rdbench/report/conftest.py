"""The measured results folder of these tests, and a browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile_results import measure_hostile


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with reconstructions, step counts and failures; tests copy it before they change it."""
    return measure_hostile(tmp_path_factory.mktemp("report"))


@pytest.fixture
def results(measured: Path, tmp_path: Path) -> Path:
    """Return a copy of the measured folder that a test may change."""
    return Path(shutil.copytree(measured, tmp_path / "shown"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a headless Chromium; tests that need one are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(names)} is on PATH")
    # Chromium's sandbox refuses to run as root, which containers do
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()
