"""Folders of images as the commands name them, read exactly as the harness reads them."""

import os
from pathlib import Path

from rich.console import Console

from rdbench.datasets.folder import FolderDataset
from rdtrain.core.data import Crops, read_crops
from rdtrain.core.settings import CommonSettings


def read_folder(folder: Path, config: CommonSettings, console: Console) -> Crops:
    """Read a folder's images into memory as crops, and say how many they are.

    Raises:
        BenchError: the folder is missing or empty, or an image cannot be read.
    """

    def report(done: int, total: int) -> None:
        if done == total or done % 1000 == 0:
            console.print(f"read {done} of {total} images", markup=False)

    crops = read_crops(
        [(item.name, item.load) for item in FolderDataset(folder).items()],
        side=config.store,
        per_image=config.crops_per_image,
        held_out=config.held_out,
        report=report,
        threads=os.cpu_count() or 1,
    )
    console.print(
        f"{len(crops.train)} crops of {crops.files[0]} images to train on, {len(crops.held_out)} of "
        f"{crops.files[1]} held out",
        markup=False,
    )
    return crops
