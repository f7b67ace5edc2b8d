"""A frozen, pretrained latent diffusion model: the generative prior that codecs steer.

Stable Diffusion and the tiny model that this project trains and ships go through the same code.
"""

from rdcodecs.prior.errors import PriorError
from rdcodecs.prior.features import Site, edit_features, feature_sites, read_features
from rdcodecs.prior.load import load
from rdcodecs.prior.model import Prior

__all__ = ["Prior", "PriorError", "Site", "edit_features", "feature_sites", "load", "read_features"]
