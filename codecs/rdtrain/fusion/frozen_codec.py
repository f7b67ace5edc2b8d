"""The codec as stages 2 and 3 find it: hyperprior and prior, frozen, and what their streams tell of images."""

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
from rdtrain.core.precision import mixed_precision


@dataclass(frozen=True)
class Conditioning:
    """What the prior is conditioned on: what the streams of a batch tell, as `Control.prepare` takes it.

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

    def __getitem__(self, places: Tensor) -> "Conditioning":
        auxiliary, sketch = (None if part is None else part[places] for part in (self.auxiliary, self.sketch))
        return Conditioning(self.latents[places], self.levels[places], self.size, auxiliary, sketch)


class FrozenCodec:
    """Hyperprior and prior, of which nothing moves.

    Args:
        hyperprior: on the device.
        prior: likewise, in float32.
    """

    def __init__(self, hyperprior: TrainedHyperprior, prior: Prior) -> None:
        self.hyperprior, self.prior = hyperprior, prior
        self._sketcher = Sketcher(hyperprior, prior)

    @property
    def levels(self) -> int:
        """Number of rate levels."""
        return self.hyperprior.config.levels

    @torch.no_grad()
    def condition(self, images: Tensor, levels: Tensor, *, sketched: bool, pictured: bool) -> Conditioning:
        """Return what the streams of images would tell, without their bytes.

        Args:
            images: shape (N, 3, H, W) in [-1, 1].
            levels: shape (N,).
            sketched: give the sketches too.
            pictured: give the auxiliary pictures too.
        """
        latents = self.hyperprior.decoded_latents(images, levels)
        size = (images.shape[2], images.shape[3])
        auxiliary = sketch = None
        if pictured or (sketched and self._sketcher.needs_picture):
            auxiliary = self.hyperprior.network.synthesis(latents, levels)[..., : size[0], : size[1]]
        if sketched:
            sketch = self._sketcher(latents, levels, size, auxiliary)
        return Conditioning(latents, levels, self.prior.latent_size(size), auxiliary, sketch)

    def windows(self, told: Conditioning) -> list[int]:
        """Return the window of local renormalization of each picture, in pixels."""
        return windows_at(told.levels, self.levels)

    @contextmanager
    def steered(self, control: Control, told: Conditioning) -> Iterator[None]:
        """Let a control steer the prior, within the context, to what streams tell."""
        with mixed_precision(told.latents.device):
            prepared = control.prepare(told.latents, told.levels, told.size, told.sketch)
        with edit_features(self.prior.unet, control.edits(prepared)):
            yield
