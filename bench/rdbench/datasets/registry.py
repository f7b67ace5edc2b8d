"""Find datasets by name. A dataset's module is imported only when the dataset is asked for."""

import importlib
import os
from pathlib import Path

from rdbench.datasets.base import Dataset, DatasetError
from rdbench.errors import did_you_mean

_DATASETS = {
    "diffusiondb": "rdbench.datasets.diffusiondb:open_diffusiondb",
    "folder": "rdbench.datasets.folder:open_folder",
    "kodak": "rdbench.datasets.kodak:open_kodak",
    "samples": "rdbench.datasets.samples:open_samples",
}


class UnknownDatasetError(DatasetError, LookupError):
    """No dataset of that name."""


def dataset_names() -> list[str]:
    """Return the names of every dataset, sorted."""
    return sorted(_DATASETS)


def open_dataset(spec: str, *, root: Path | None = None) -> Dataset:
    """Open a dataset by name. No image is read; downloads wait until `Dataset.items` is called.

    Args:
        spec: a name, or a name and its options: ``kodak``, ``samples:photos``, ``folder:PATH`` ... as in
            docs/datasets.md. A relative PATH starts at the current folder.
        root: the folder that holds ``kodak`` and ``diffusiondb``; `None` takes ``$RDBENCH_DATA``.

    Raises:
        UnknownDatasetError: no such name; the message suggests the nearest.
        DatasetError: options that the dataset does not have.
    """
    name, _, options = spec.partition(":")
    if name not in _DATASETS:
        if os.path.isdir(os.path.expanduser(spec)):
            raise UnknownDatasetError(f"'{spec}' is a folder: to read its images say 'folder:{spec}'")
        raise UnknownDatasetError(did_you_mean("dataset", name, _DATASETS))
    module, _, attribute = _DATASETS[name].partition(":")
    dataset = getattr(importlib.import_module(module), attribute)(options, root)
    if not isinstance(dataset, Dataset):
        raise TypeError(f"{dataset!r} is not a dataset")
    return dataset
