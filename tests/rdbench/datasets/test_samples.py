"""The sample images come out of installed packages, unchanged or halved by an exact rule."""

import importlib.util
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from rdbench.datasets import DatasetError, open_dataset
from rdbench.datasets.samples import halve


def test_names_and_order() -> None:
    items = open_dataset("samples").items()
    names = [item.name for item in items]
    assert names[:4] == [
        "photo-astronaut", "gen-flux_fill_inpaint_example-1", "photo-coffee", "gen-sdxl_simple_example-1",
    ]  # fmt: skip
    assert len(set(names)) == 15
    assert sum(name.startswith("gen-") for name in names) == 10


def test_one_kind_only() -> None:
    photos = open_dataset("samples:photos")
    generated = open_dataset("samples:generated")
    assert (photos.name, generated.name) == ("samples-photos", "samples-generated")
    assert {item.name.split("-")[0] for item in photos.items()} == {"photo"}
    assert {item.name.split("-")[0] for item in generated.items()} == {"gen"}


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "hubble_deep_field"])
def test_photographs_are_those_of_scikit_image(name: str) -> None:
    items = {item.name: item for item in open_dataset("samples:photos").items()}
    np.testing.assert_array_equal(items[f"photo-{name}"].load(), getattr(skimage.data, name)())


def test_generated_images_are_the_rounded_mean_of_2x2_pixels() -> None:
    item = open_dataset("samples:generated").items()[0]
    file = f"comfyui_workflow_templates_media_image/templates/{item.name.removeprefix('gen-')}.webp"
    path = distribution("comfyui-workflow-templates-media-image").locate_file(file)
    with Image.open(str(path)) as picture:
        whole = np.asarray(picture.convert("RGB"), dtype=float)
    mean = (whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]) / 4
    image = item.load()
    assert image.shape == (512, 512, 3)
    np.testing.assert_array_equal(image, np.floor(mean + 0.5))


def test_every_generated_image_has_512_pixels_a_side() -> None:
    assert {item.load().shape for item in open_dataset("samples:generated").items()} == {(512, 512, 3)}


def test_halving_rounds_halves_up_and_does_not_overflow() -> None:
    block = np.array([[0, 1], [0, 1]], dtype=np.uint8)[..., None].repeat(3, axis=-1)
    assert halve(block).tolist() == [[[1, 1, 1]]]
    assert halve(np.full((4, 2, 3), 255, dtype=np.uint8)).tolist() == [[[255] * 3], [[255] * 3]]


def test_halving_an_odd_image_is_refused() -> None:
    with pytest.raises(Exception, match="cannot halve 3x2 pixels: a side is odd"):
        halve(np.zeros((2, 3, 3), dtype=np.uint8))


def test_an_unknown_kind() -> None:
    with pytest.raises(DatasetError, match=r"unknown kind of samples 'photo': did you mean 'photos'\?"):
        open_dataset("samples:photo")


@pytest.mark.parametrize(
    ("module", "named"),
    [
        ("skimage", "scikit-image"),
        ("comfyui_workflow_templates_media_image", "comfyui-workflow-templates-media-image"),
    ],
)
def test_a_missing_package(monkeypatch: pytest.MonkeyPatch, module: str, named: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == module else find_spec(name, *rest)
    )
    with pytest.raises(DatasetError, match=rf'the samples need {named}: pip install "rdbench\[samples\]"'):
        open_dataset("samples").items()
    other = "generated" if module == "skimage" else "photos"
    assert open_dataset(f"samples:{other}").items()


def test_a_package_without_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find_spec = importlib.util.find_spec

    def elsewhere(name: str, *rest: Any) -> Any:
        spec = find_spec(name, *rest)
        if spec and spec.submodule_search_locations:
            spec.submodule_search_locations[:] = [str(tmp_path)]
        return spec

    monkeypatch.setattr(importlib.util, "find_spec", elsewhere)
    with pytest.raises(DatasetError, match=r"has no flux_fill_inpaint_example-1\.webp"):
        open_dataset("samples:generated").items()
