"""The trained convolutions that LPIPS, DISTS and KID stand on.

Of torchvision's AlexNet and VGG16 only the convolutions are needed: 10 and 59 MB of the 233 and 528 MB that are
published. They are kept as safetensors in the cache folder, where `rdbench fetch lpips` puts them. What they are
is told by a hash over the tensors, not over a file, so it does not matter from where they came.
"""

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rdbench.cache import cache_root
from rdbench.metrics.base import MetricUnavailableError
from rdbench.metrics.installed import package_version
from rdbench.metrics.weights import checkpoints_folder, published_hash, verify

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, npt.NDArray[Any]]
"""Tensors by their name in torchvision, e.g. ``features.0.weight``, shape (out, in, height, width)."""


class Backbone(ABC):
    """The convolutions of a network trained on ImageNet."""

    name: str
    """The network's name in torchvision."""

    @abstractmethod
    def check(self) -> None:
        """Raise `MetricUnavailableError` if they are missing or damaged; the message says how to get them."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """First hex digits of a SHA-256 that tells these weights from all others."""

    @abstractmethod
    def state(self) -> "Mapping[str, Tensor]":
        """Return the tensors by their names in torchvision, or raise `MetricUnavailableError`."""


@dataclass(frozen=True)
class CachedBackbone(Backbone):
    """A backbone whose convolutions lie in the cache folder.

    Attributes:
        name: the network's name in torchvision.
        layers: the place of each convolution in torchvision's ``features``.
        tensors_sha256: what `tensors_digest` gives for the published convolutions.
        hub_name: the file as torchvision publishes it.
    """

    name: str
    layers: tuple[int, ...]
    tensors_sha256: str
    hub_name: str

    @property
    def path(self) -> Path:
        """Its file in the cache folder."""
        return cache_root() / "weights" / f"{self.name}.safetensors"

    @property
    def identity(self) -> str:
        """First hex digits of the hash of the tensors."""
        return self.tensors_sha256[:16]

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the file is missing, damaged or another one."""
        package_version("safetensors")
        try:
            state = self.path.stat()
            found = _digest_of_file(self.path, state.st_size, state.st_mtime_ns)
        except FileNotFoundError:
            raise MetricUnavailableError(
                f"the convolutions of {self.name} are not on this machine: rdbench fetch lpips gets them once "
                f"(into {self.path.parent})"
            ) from None
        except OSError as error:
            raise MetricUnavailableError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if found != self.tensors_sha256:
            raise MetricUnavailableError(
                f"{self.path} is damaged or holds other weights than the published ones: "
                "rdbench fetch lpips replaces it"
            )

    def state(self) -> "Mapping[str, Tensor]":
        """Return the tensors, after checking them."""
        self.check()
        import torch
        from safetensors.numpy import load_file

        return {name: torch.from_numpy(value) for name, value in load_file(self.path).items()}


@dataclass(frozen=True)
class HubBackbone(Backbone):
    """A backbone whose file, as torchvision publishes it, lies in the torch hub's folder.

    Attributes:
        name: the network's name in torchvision.
        hub_name: the file; its name holds the first digits of its SHA-256.
    """

    name: str
    hub_name: str

    @property
    def path(self) -> Path:
        """Its file in the torch hub's folder."""
        return checkpoints_folder() / self.hub_name

    @property
    def identity(self) -> str:
        """The digits in the file's name."""
        return published_hash(self.hub_name)

    def check(self) -> None:
        """Raise `MetricUnavailableError` if the file is missing, damaged or another one."""
        if not self.path.is_file():
            raise MetricUnavailableError(
                f"the weights {self.hub_name} are not in {self.path.parent}: rdbench fetch lpips_squeeze gets them once"
            )
        verify(self.path, self.identity)

    def state(self) -> "Mapping[str, Tensor]":
        """Return the tensors, after checking the file."""
        self.check()
        import torch

        state: Mapping[str, Tensor] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state


ALEXNET = CachedBackbone(
    "alexnet",
    (0, 3, 6, 8, 10),
    "55bf5f9599d7084e11ad54ff09cbf9931a9aa9326f8eabeaccce8330f085fc40",
    "alexnet-owt-7be5be79.pth",
)
VGG16 = CachedBackbone(
    "vgg16",
    (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "ec92018a5117639a9a29e1d7bfc6aea5a0d98384dc77408e2d5843ae2dc21cf9",
    "vgg16-397923af.pth",
)
SQUEEZENET = HubBackbone("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth")


def tensors_digest(tensors: Arrays) -> str:
    """Return the hex SHA-256 over names, shapes, types and values of tensors, whatever their order and file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.data)
    return digest.hexdigest()


@functools.cache
def _digest_of_file(path: Path, size: int, modified: int) -> str:
    """Return the digest of the tensors in a file, "" if it holds none; a file that has not changed is read once."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return tensors_digest(load(path.read_bytes()))
    except (SafetensorError, KeyError, ValueError):
        return ""
