"""Fixtures of the harness's tests."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PILImage
from rich.console import Console

import faulty_codecs
from formula_records import make_records
from rdbench.experiment import Experiment, validate_experiment

CODECS = Path(faulty_codecs.__file__)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of three small images of different sizes, smooth as photographs are."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, (height, width) in enumerate([(32, 48), (33, 47), (40, 40)]):
        coarse = np.random.default_rng(i).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        smooth = PILImage.fromarray(coarse).resize((width, height), PILImage.Resampling.BICUBIC)
        smooth.save(folder / f"img{i + 1}.png")
    return folder


@pytest.fixture
def experiment(images: Path) -> Callable[..., Experiment]:
    """Return a maker of small experiments over `images`, with codecs of faulty_codecs by class name."""

    def make(*classes: str, **changes: Any) -> Experiment:
        codecs = [{"codec": f"{CODECS}:{name}"} for name in classes or ("Quantizer",)]
        data = {"name": "small", "dataset": f"folder:{images}", "codecs": codecs, "metrics": ["psnr"]}
        return validate_experiment(data | changes)

    return make


@pytest.fixture
def console() -> Console:
    """Return a console that keeps what is printed."""
    return Console(file=StringIO(), width=300)


@pytest.fixture
def thread() -> Iterator[Executor]:
    """Return an executor that runs tasks in this process: cheap where crashes are not the point."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def base() -> pd.DataFrame:
    """Return records of an anchor, `vtm`."""
    return make_records({"vtm": (1, 0)}, images=8)


@pytest.fixture
def new() -> pd.DataFrame:
    """Return records of `ours`, which needs 20 % fewer bits than `vtm`."""
    return make_records({"ours": (0.8, 0)}, images=8)


@pytest.fixture
def noisy() -> pd.DataFrame:
    """Return records of `a` and `b` whose images differ from each other and from any formula."""
    records = make_records({"a": (1, 0), "b": (0.8, 0.1)}, images=8, points=5, noise=0.03, seed=5)
    random = np.random.default_rng(1)
    records["psnr"] += random.normal(0, 0.15, len(records))
    records["lpips_alex"] *= random.uniform(0.97, 1.03, len(records))
    return records
