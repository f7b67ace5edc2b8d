"""Many small images, and a codec that is cheap enough for them."""

from pathlib import Path

import numpy as np
from PIL import Image as PILImage

import faulty_codecs

QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"


def write_images(folder: Path, count: int, side: int = 16) -> None:
    """Write small, different images."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        PILImage.fromarray(coarse).resize((side, side), PILImage.Resampling.BICUBIC).save(folder / f"{i}.png")
