"""What a dataset is: a named list of images that are read when asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rdbench.errors import BenchError
from rdcodecs import Image


class DatasetError(BenchError):
    """A dataset that is not there, is empty, or is damaged."""


class ImageError(BenchError):
    """One image that cannot be read. It becomes an error row; the run goes on."""


@dataclass(frozen=True)
class Item:
    """One image of a dataset, not yet read. It can be pickled: workers read it themselves.

    Attributes:
        name: unique in the dataset, stable between machines, e.g. ``kodim01.png`` or ``sub/a.png``.
        load: reads the image as uint8 (H, W, 3) sRGB; raises `ImageError`.
        digest: returns the hex SHA-256 of the file and of whatever `load` does to it; raises `ImageError`.
        caption: the text beside the image (DiffusionDB's prompt), where there is one.
    """

    name: str
    load: Callable[[], Image]
    digest: Callable[[], str]
    caption: str | None = field(default=None)


class Dataset(ABC):
    """A named collection of images."""

    name: str

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """Return the images in natural order, without reading them.

        Raises:
            DatasetError: the dataset is missing or empty.
        """
