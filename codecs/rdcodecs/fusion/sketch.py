"""The sketch: the image as a latent of the prior, roughly, for the adapter to begin with."""

from torch import Tensor

from rdcodecs.hyperprior.weights import TrainedHyperprior
from rdcodecs.prior import Prior
from rdcodecs.prior.autoencoders import names_latents


class Sketcher:
    """Draws sketches: by the hyperprior's own decoder where it was trained for such latents, else by encoding pictures.

    Args:
        hyperprior: frozen.
        prior: frozen.

    Attributes:
        needs_picture: whether sketches are encodings of the auxiliary decoder's pictures.
    """

    def __init__(self, hyperprior: TrainedHyperprior, prior: Prior) -> None:
        self._prior = prior
        meant = hyperprior.network.sketch is not None and names_latents(hyperprior.sketch_prior, prior.vae)
        self._decoder = hyperprior.network.sketch if meant else None
        self.needs_picture = not meant

    def __call__(self, latents: Tensor, levels: Tensor, size: tuple[int, int], picture: Tensor | None) -> Tensor:
        """Return sketches, shape (N, C, h, w), in the prior's type.

        Args:
            latents: of the hyperprior, decoded, gain undone, shape (N, M, ...).
            levels: shape (N,).
            size: (height, width) of the image in pixels.
            picture: the auxiliary decoder's, shape (N, 3, H, W), about [-1, 1]; not used unless needed.
        """
        if self._decoder is not None:
            height, width = self._prior.latent_size(size)
            drawn: Tensor = self._decoder(latents.float(), levels)  # fp32, whatever the prior's type
            return drawn[..., :height, :width].to(self._prior.dtype)
        if picture is None:
            raise ValueError("without a sketch decoder for this prior a picture is needed")
        return self._prior.encode(picture.clamp(-1, 1))
