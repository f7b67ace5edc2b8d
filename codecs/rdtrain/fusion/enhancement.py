"""Fidelity enhancement as stages 1 and 2 may have it: pictures are judged as a trained enhancer leaves them."""

from pathlib import Path

from torch import Tensor

from rdcodecs.digests import network_digest
from rdcodecs.fusion.enhancer import Enhancer
from rdcodecs.fusion.renormalize import match_neighbourhoods, windows_at
from rdcodecs.fusion.weights import foreign_enhancer, named_autoencoder
from rdcodecs.hyperprior.config import HyperpriorConfig
from rdcodecs.prior import Prior
from rdtrain.core.errors import TrainingError


class Enhancement:
    """Local renormalization and then the enhancer, as in `FusionCodec`; differentiable.

    Args:
        enhancer: frozen.
        count: of rate levels.
        digest: of the enhancer's weights.
    """

    def __init__(self, enhancer: Enhancer, count: int, digest: str) -> None:
        self.digest = digest
        self._enhancer, self._count = enhancer, count

    @property
    def sees_latents(self) -> bool:
        """Whether it sees decoded latents, of which it knows those of its own hyperprior alone."""
        return self._enhancer.told is not None

    def __call__(self, pictures: Tensor, auxiliary: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
        """Return what the codec shows; see `Enhancer.forward`."""
        matched = match_neighbourhoods(pictures, auxiliary, windows_at(levels, self._count))
        made: Tensor = self._enhancer(matched, auxiliary, latents, levels)
        return made


def read_enhancement(folder: Path, prior: Prior, hyperprior: HyperpriorConfig) -> Enhancement:
    """Read an enhancer for a training of what comes before it, after which it is to be trained anew.

    Args:
        folder: of the enhancer.
        prior: whose autoencoder it was trained for.
        hyperprior: shape of the one in training, which may be another than it was trained for.

    Raises:
        MissingDependencyError: a file is missing.
        CodecError: a file is damaged, of a newer format, or does not fit.
        TrainingError: it was trained for another autoencoder.
    """
    enhancer, digest = foreign_enhancer(folder, hyperprior)
    if named_autoencoder(folder) != network_digest(prior.vae):
        raise TrainingError(f"'{folder}' was trained for another autoencoder than that of '{prior.name}': name its own")
    return Enhancement(enhancer.requires_grad_(False).eval().to(prior.device), hyperprior.levels, digest)
