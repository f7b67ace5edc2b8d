"""Datasets: where the images come from."""

from rdbench.datasets.base import Dataset, DatasetError, ImageError, Item
from rdbench.datasets.registry import dataset_names, open_dataset

__all__ = ["Dataset", "DatasetError", "ImageError", "Item", "dataset_names", "open_dataset"]
