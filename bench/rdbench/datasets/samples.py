"""Sample images out of installed packages: photographs and AI-generated images, without any download."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import ClassVar

import numpy as np

from rdbench.datasets.base import Dataset, DatasetError, ImageError, Item
from rdbench.datasets.image_file import ImageFile
from rdbench.datasets.srgb import nearest_level
from rdbench.errors import did_you_mean
from rdcodecs import Image

_PHOTOS = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "hubble_deep_field.jpg")
"""The colour photographs inside scikit-image's wheel, public domain or CC0, without the medical ones."""

_GENERATED = (
    "flux_fill_inpaint_example-1",
    "sdxl_simple_example-1",
    "sd3.5_large_canny_controlnet_example-1",
    "flux_schnell-1",
    "sdxl_revision_text_prompts-1",
    "sd3.5_large_blur-1",
    "flux_canny_model_example-1",
    "sdxl_refiner_prompt_example-1",
    "sd3.5_simple_example-1",
    "sd3.5_large_depth-1",
)
"""Outputs of FLUX.1, SDXL and Stable Diffusion 3.5, 1024x1024, the three models by turns."""

_KINDS = ("photos", "generated")


@dataclass(frozen=True)
class HalvedImage(ImageFile):
    """An image file read at half its width and height: the rounded mean of every 2x2 pixels."""

    rules: ClassVar[str] = ImageFile.rules + ", halved by 2x2 mean"

    def finish(self, image: Image) -> Image:
        """Return the image at half its size."""
        return halve(image)


def halve(image: Image) -> Image:
    """Return the mean of every 2x2 pixels, halves rounded up.

    Args:
        image: uint8, shape (H, W, 3), H and W even.

    Returns:
        uint8, shape (H/2, W/2, 3).

    Raises:
        ImageError: a side is odd.
    """
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        raise ImageError(f"cannot halve {width}x{height} pixels: a side is odd")
    blocks = image.reshape(height // 2, 2, width // 2, 2, 3)
    return nearest_level(blocks.sum(axis=(1, 3), dtype=np.uint16), 4)


class SamplesDataset(Dataset):
    """Photographs of scikit-image and AI-generated images of comfyui-workflow-templates-media-image.

    The two kinds take turns as long as both last, so that the first few are already a mix. Photographs have
    their own sizes; generated images are halved to 512x512, which hides the traces of their lossy WebP files.

    Args:
        kind: "photos" or "generated", or an empty string for both.

    Raises:
        DatasetError: no such kind.
    """

    def __init__(self, kind: str = "") -> None:
        if kind and kind not in _KINDS:
            raise DatasetError(did_you_mean("kind of samples", kind, _KINDS))
        self.kind = kind
        self.name = f"samples-{kind}" if kind else "samples"

    def items(self) -> Sequence[Item]:
        """Return the images, named ``photo-...`` and ``gen-...``.

        Raises:
            DatasetError: a package that holds them is not installed, or is a version without them.
        """
        photos = [] if self.kind == "generated" else _photos()
        generated = [] if self.kind == "photos" else _generated()
        return [item for item in chain(*zip_longest(photos, generated)) if item]


def open_samples(options: str, root: Path | None) -> SamplesDataset:
    """Open ``samples``, ``samples:photos`` or ``samples:generated``."""
    return SamplesDataset(options)


def _photos() -> list[Item]:
    folder = _package_folder("skimage", "scikit-image") / "data"
    return [ImageFile(_present(folder / file)).item("photo-" + Path(file).stem) for file in _PHOTOS]


def _generated() -> list[Item]:
    distribution = "comfyui-workflow-templates-media-image"
    folder = _package_folder(distribution.replace("-", "_"), distribution) / "templates"
    return [HalvedImage(_present(folder / f"{name}.webp")).item("gen-" + name) for name in _GENERATED]


def _package_folder(module: str, distribution: str) -> Path:
    # Finding a package does not import it: scikit-image would bring in scipy.
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(f'the samples need {distribution}: pip install "rdbench[samples]"')
    return Path(spec.submodule_search_locations[0])


def _present(path: Path) -> Path:
    if not path.is_file():
        raise DatasetError(
            f'the installed package has no {path.name} ({path.parent}): pip install -U "rdbench[samples]"'
        )
    return path
