"""A results folder that was really measured, with names that try to break out of a page."""

from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from rich.console import Console

import faulty_codecs
from rdbench.experiment import validate_experiment
from rdbench.run import run

HOSTILE = "<script>window.broken=1</script>"
LABEL = '"><img src=x onerror=broken=2>'
IMAGE = "2 <img src=x onerror=window.broken=3>.png"
SIZES = {"1.png": (300, 420), IMAGE: (190, 260), "3.png": (200, 200)}
_CODEC = f"""
from faulty_codecs import Quantizer

class Scratched(Quantizer):
    name = "scratched"

    def encode(self, image, rate):
        if rate == 16:
            raise RuntimeError("{HOSTILE}")
        return super().encode(image, rate)

    def decode(self, data, **options):
        image = super().decode(data, **options).copy()
        image[-60:, -60:] = 0
        return image
"""


def quiet() -> Console:
    """Return a console that keeps what is printed."""
    return Console(file=StringIO(), width=500)


def said(console: Console) -> str:
    """Return what was printed."""
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def measure_hostile(place: Path) -> Path:
    """Measure into a folder: reconstructions, several step counts, and failures."""
    images = place / "images"
    images.mkdir()
    for i, (name, (height, width)) in enumerate(SIZES.items()):
        random = np.random.default_rng(i)
        coarse = PILImage.fromarray(random.integers(30, 226, (6, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), PILImage.Resampling.BICUBIC), dtype=np.int16)
        grain = random.integers(-8, 9, (height, width, 1))
        PILImage.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(images / name)
    codec = place / "scratched.py"
    codec.write_text(_CODEC)
    quantizer = f"{faulty_codecs.__file__}:Quantizer"
    experiment: dict[str, Any] = {
        "name": "shown",
        "description": HOSTILE,
        "dataset": f"folder:{images}",
        "anchor": "base",
        "metrics": ["psnr", "ms_ssim"],
        "codecs": [
            {"codec": quantizer, "label": "base"},
            {"codec": quantizer, "label": LABEL, "options": {"level": 9}, "decode": {"steps": [1, 3, 6]}},
            {"codec": f"{codec}:Scratched", "label": "scratched"},
        ],
    }
    with ThreadPoolExecutor(1) as pool:
        run(validate_experiment(experiment), place / "shown", keep=True, executor=pool, console=quiet())
    return place / "shown"
