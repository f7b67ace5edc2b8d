"""Images as tensors."""

from typing import TYPE_CHECKING

import numpy as np

from rdcodecs import Image

if TYPE_CHECKING:
    from torch import Tensor


def to_tensor(image: Image) -> "Tensor":
    """Return an image as float32, shape (1, 3, H, W), values 0 to 255 as they are.

    The memory layout stays that of the image, which torch calls channels_last: on a CPU convolutions of few
    channels run up to twice as fast in it. (The axis of images must be there before the others are exchanged:
    added afterwards it gets a stride that torch does not take for that layout.)
    """
    import torch

    return torch.from_numpy(image.astype(np.float32)).unsqueeze(0).permute(0, 3, 1, 2)
