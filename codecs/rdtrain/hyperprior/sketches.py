"""Sketches as a decoder draws them, for an autoencoder's decoder to learn from."""

import torch
from torch import Tensor

from rdcodecs.hyperprior.weights import TrainedHyperprior


class DecodedSketches:
    """Codes images at random rates and draws the sketches that a decoder would.

    Args:
        hyperprior: frozen, with a sketch decoder.

    Raises:
        ValueError: it has none.
    """

    def __init__(self, hyperprior: TrainedHyperprior) -> None:
        if hyperprior.network.sketch is None:
            raise ValueError(f"the hyperprior in '{hyperprior.folder}' draws no sketches")
        self._hyperprior = hyperprior
        self._decoder = hyperprior.network.sketch

    @property
    def digest(self) -> str:
        """Of the hyperprior."""
        return self._hyperprior.digest.hex()

    @torch.no_grad()
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return sketches, shape (N, C, h, w), in the scale that the diffusion model works on; of images padded to 16.

        Args:
            images: shape (N, 3, H, W) in [-1, 1].
            generator: of the rates, on the images' device.
        """
        count = self._hyperprior.config.levels
        levels = torch.randint(count, (len(images),), generator=generator, device=images.device)
        drawn: Tensor = self._decoder(self._hyperprior.decoded_latents(images, levels), levels)
        return drawn
