"""Material for the speed and memory measurements."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from rdbench.datasets import open_dataset
from rdbench.experiment import load_experiment
from rdbench.layout import LEDGER_NAME
from rdbench.ledger import Ledger
from rdbench.plan import make_plan
from small_images import QUANTIZER, write_images


@pytest.fixture
def known_run(tmp_path: Path) -> Callable[[int, int], list[str]]:
    """Return a maker of results folders in which everything is known; it returns the command that runs it again."""

    def make(images: int, rates: int) -> list[str]:
        write_images(tmp_path / "images", images)
        path = tmp_path / "known.yaml"
        codecs = [{"codec": QUANTIZER, "label": f"level {level}", "options": {"level": level}} for level in range(1, 6)]
        per_codec = np.linspace(1, 128, rates // len(codecs)).round().astype(int)
        for codec in codecs:
            codec["rates"] = sorted({int(rate) for rate in per_codec})
        data = {
            "name": "known",
            "dataset": f"folder:{tmp_path / 'images'}",
            "metrics": ["psnr", "ms_ssim", "st_lpips_alex"],
            "anchor": "level 1",
            "codecs": codecs,
        }
        path.write_text(yaml.safe_dump(data))
        experiment = load_experiment(path)
        dataset = open_dataset(experiment.dataset)
        plan = make_plan(experiment, dataset.name, dataset.items(), {})
        random = np.random.default_rng(1)
        out = tmp_path / "out"
        out.mkdir()
        with Ledger(out / LEDGER_NAME) as ledger:
            ledger.put(
                replace(
                    cell,
                    width=16,
                    height=16,
                    bytes=int(1000 / cell.rate) + 10 + int(random.integers(3)),
                    stream="0" * 64,
                    encode_s=0.01,
                    decode_s=0.01,
                    metrics={"psnr": 40 - cell.rate / 8 + float(random.normal()) / 20},
                    metric_fingerprints=dict(task.metrics),
                    measured="2026-01-01T00:00:00+00:00",
                )
                for task in plan.tasks
                for cell in task.cells
            )
        return ["-m", "rdbench", "run", str(path), "--out", str(out)]

    return make
