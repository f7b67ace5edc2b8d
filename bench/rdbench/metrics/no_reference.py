"""Metrics that look at the decoded image alone: NIQE, MUSIQ and CLIP-IQA, through the `pyiqa` package.

They judge how an image looks, not whether it is the right one. pyiqa downloads weights when a model is made, so
that happens in `rdbench fetch` only: a metric whose file is missing is left out.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from rdbench.metrics.base import Metric, MetricUnavailableError, too_little_content
from rdbench.metrics.installed import package_version
from rdbench.metrics.tensors import to_tensor
from rdbench.metrics.weights import checkpoints_folder, verify
from rdcodecs import Image


class PyIQAMetric(Metric):
    """A metric of pyiqa that takes no reference. The reference is read all the same, for the size alone."""

    model: ClassVar[str]
    """The model's name in pyiqa."""
    file: ClassVar[str]
    """Where pyiqa keeps the weights, below the torch hub's folder."""
    sha256: ClassVar[str]
    """First digits of the weights' SHA-256; "" where nobody publishes it."""

    def __init__(self) -> None:
        self._net: Any = None

    @property
    def path(self) -> Path:
        """Where the weights are on this machine, once fetched."""
        return checkpoints_folder().parent / self.file

    def check(self) -> None:
        """Raise `MetricUnavailableError` if pyiqa or the weights are missing or damaged."""
        try:
            package_version("pyiqa")
        except MetricUnavailableError:
            raise MetricUnavailableError("the package 'pyiqa' is not installed: pip install 'rdbench[pyiqa]'") from None
        if not self.path.is_file():
            raise MetricUnavailableError(f"its weights are not on this machine: rdbench fetch {self.name} gets them")
        verify(self.path, self.sha256)

    def fingerprint(self) -> Mapping[str, Any]:
        """Return the package's version and the hash of the weights that are here."""
        with self.path.open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        return {"pyiqa": package_version("pyiqa"), "model": self.model, "weights": weights}

    def prepare(self, reference: Image) -> None:
        """Keep nothing of the reference."""

    def score(self, prepared: None, image: Image) -> float:
        """Return what the model says of the image."""
        self.check()
        import torch

        if self._net is None:
            self._net = self.make()
        with torch.inference_mode():
            value = float(self._net((to_tensor(image) / 255).contiguous()))
        if math.isnan(value):
            raise too_little_content(self.name)
        return value

    def make(self) -> Any:
        """Return pyiqa's model. Weights that are missing are downloaded by pyiqa: only `rdbench fetch` may."""
        import torch

        from rdcodecs.torchvision_compat import ensure_torchvision

        ensure_torchvision()
        import pyiqa

        with torch.random.fork_rng(devices=[]):
            return pyiqa.create_metric(self.model, device=torch.device("cpu"))


class NIQE(PyIQAMetric):
    """Natural image quality evaluator: how far the statistics of local contrasts are from those of photographs."""

    name: ClassVar[str] = "niqe"
    title: ClassVar[str] = "NIQE"
    higher_is_better: ClassVar[bool] = False
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    min_side: ClassVar[int] = 192
    source: ClassVar[str] = "Mittal et al.: Making a completely blind image quality analyzer (SPL 2013)"
    model: ClassVar[str] = "niqe"
    file: ClassVar[str] = "pyiqa/niqe_modelparameters.mat"
    sha256: ClassVar[str] = ""


class MUSIQ(PyIQAMetric):
    """Multi-scale image quality transformer, trained on opinions about photographs (KonIQ-10k)."""

    name: ClassVar[str] = "musiq"
    title: ClassVar[str] = "MUSIQ (KonIQ-10k)"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    min_side: ClassVar[int] = 64
    source: ClassVar[str] = "Ke et al.: MUSIQ (ICCV 2021)"
    model: ClassVar[str] = "musiq"
    file: ClassVar[str] = "pyiqa/musiq_koniq_ckpt-e95806b9.pth"
    sha256: ClassVar[str] = "e95806b9"


class CLIPIQA(PyIQAMetric):
    """How much nearer CLIP puts the image to "good photo" than to "bad photo"."""

    name: ClassVar[str] = "clipiqa"
    title: ClassVar[str] = "CLIP-IQA"
    higher_is_better: ClassVar[bool] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    min_side: ClassVar[int] = 64
    source: ClassVar[str] = "Wang et al.: Exploring CLIP for assessing the look and feel of images (AAAI 2023)"
    model: ClassVar[str] = "clipiqa"
    file: ClassVar[str] = "clip/RN50.pt"
    sha256: ClassVar[str] = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"


MODELS: tuple[type[PyIQAMetric], ...] = (NIQE, MUSIQ, CLIPIQA)
"""Every metric of this module."""
