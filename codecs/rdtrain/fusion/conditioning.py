"""What streams tell of images, without their bytes: what the trainings of stage 2 and 3 begin with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from rdcodecs.fusion.control import Control
from rdcodecs.fusion.renormalize import windows_at
from rdcodecs.fusion.sketch import Sketcher
from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.prior import Prior
from rdcodecs.prior.features import edit_features
from rdtrain.core.task import mixed_precision


@dataclass(frozen=True)
class CodedBatch:
    """What the streams of a batch tell, as `Control.prepare` takes it.

    Attributes:
        latents: decoded, gain undone, shape (N, M, ...).
        levels: shape (N,).
        size: (h, w) of the prior's latent.
        auxiliary: the auxiliary decoder's pictures, shape (N, 3, H, W), where they were asked for or sketches need
            them.
        sketch: latents of the prior, where the control takes them.
    """

    latents: Tensor
    levels: Tensor
    size: tuple[int, int]
    auxiliary: Tensor | None
    sketch: Tensor | None

    def __getitem__(self, places: Tensor) -> "CodedBatch":
        auxiliary, sketch = (None if part is None else part[places] for part in (self.auxiliary, self.sketch))
        return CodedBatch(self.latents[places], self.levels[places], self.size, auxiliary, sketch)


class Coder:
    """Codes images as the codec does.

    Args:
        hyperprior: frozen.
        prior: frozen.
    """

    def __init__(self, hyperprior: TrainedHyperprior, prior: Prior) -> None:
        self._hyperprior, self._prior = hyperprior, prior
        self._sketcher = Sketcher(hyperprior, prior)

    @torch.no_grad()
    def __call__(self, images: Tensor, levels: Tensor, *, sketched: bool, pictured: bool) -> CodedBatch:
        """Return what the streams of images would tell.

        Args:
            images: shape (N, 3, H, W) in [-1, 1].
            levels: shape (N,).
            sketched: give the sketches too.
            pictured: give the auxiliary pictures too.
        """
        latents = self._hyperprior.decoded_latents(images, levels)
        size = (images.shape[2], images.shape[3])
        auxiliary = sketch = None
        if pictured or (sketched and self._sketcher.needs_picture):
            auxiliary = self._hyperprior.network.synthesis(latents, levels)[..., : size[0], : size[1]]
        if sketched:
            sketch = self._sketcher(latents, levels, size, auxiliary)
        return CodedBatch(latents, levels, self._prior.latent_size(size), auxiliary, sketch)

    def windows(self, coded: CodedBatch) -> list[int]:
        """Return the window of local renormalization of each picture, in pixels."""
        return windows_at(coded.levels, self._hyperprior.config.levels)

    @contextmanager
    def steered(self, control: Control, coded: CodedBatch) -> Iterator[None]:
        """Let a control steer the prior, within the context, to what streams tell."""
        with mixed_precision(coded.latents.device):
            prepared = control.prepare(coded.latents, coded.levels, coded.size, coded.sketch)
        with edit_features(self._prior.unet, control.edits(prepared)):
            yield
