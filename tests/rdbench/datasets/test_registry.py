"""Datasets are found by name, cost nothing to name, and their items can be sent to other processes."""

import hashlib
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdbench.datasets import Dataset, DatasetError, Item, dataset_names, open_dataset
from rdbench.datasets.diffusiondb import DiffusionDB
from rdbench.datasets.kodak import KodakDataset


def test_names() -> None:
    assert dataset_names() == ["diffusiondb", "folder", "kodak", "samples"]
    for name in dataset_names():
        assert isinstance(open_dataset(f"{name}:." if name == "folder" else name), Dataset)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kodk", "unknown dataset 'kodk': did you mean 'kodak'?"),
        ("floder:/tmp", "unknown dataset 'floder': did you mean 'folder'?"),
        ("zzz", "unknown dataset 'zzz': have diffusiondb, folder, kodak, samples"),
        ("", "unknown dataset '': have diffusiondb, folder, kodak, samples"),
    ],
)
def test_an_unknown_name(spec: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        open_dataset(spec)
    assert str(caught.value) == message


def test_a_bare_folder_is_shown_the_way(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"'{tmp_path}' is a folder: .* 'folder:{tmp_path}'"):
        open_dataset(str(tmp_path))


def test_importing_and_opening_is_light() -> None:
    code = """
import sys, rdbench.datasets
rdbench.datasets.open_dataset("samples").items()
rdbench.datasets.open_dataset("diffusiondb")
print({"pandas", "pyarrow", "skimage", "scipy", "torch", "huggingface_hub"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "set()"


def look(item: Item) -> tuple[str, str]:
    return hashlib.sha256(item.load().tobytes()).hexdigest(), item.digest()


def test_items_of_every_dataset_can_be_read_by_another_process(tmp_path: Path) -> None:
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    folder = tmp_path / "kodak"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a.png")
    with zipfile.ZipFile(tmp_path / "part-000001.zip", "w") as archive:
        archive.write(folder / "a.png", "a.png")
        archive.writestr("part-000001.json", '{"a.png": {"p": "a prompt"}}')
    sums = {"a.png": hashlib.sha256(pixels.tobytes()).hexdigest()}
    items = [
        *open_dataset(f"folder:{folder}").items(),
        *KodakDataset(tmp_path, pixels=sums).items(),
        *DiffusionDB(tmp_path).items(),
        *open_dataset("samples").items()[:2],
    ]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(look, items)) == [look(item) for item in items]
