"""Between images and what the networks take: values, padding, layout."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rdcodecs.codec import StreamError


def to_tensor(images: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    """Return images as the networks expect them.

    Args:
        images: uint8, shape (H, W, 3) or (N, H, W, 3), sRGB; a floating-point tensor of shape (N, 3, H, W) in
            [-1, 1] passes unchanged.

    Returns:
        float32, shape (N, 3, H, W), values in [-1, 1], in channels_last memory layout.

    Raises:
        ValueError: another type or shape.
    """
    if isinstance(images, Tensor) and images.is_floating_point():
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"a floating-point batch must have shape (N, 3, H, W), not {tuple(images.shape)}")
        return images
    pixels = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if pixels.dtype != torch.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
        raise ValueError(f"images must be uint8 (N, H, W, 3), not {pixels.dtype} {tuple(pixels.shape)}")
    batch = pixels if pixels.ndim == 4 else pixels[None]
    # A permuted view of (N, H, W, C) is what torch calls channels_last: nothing is copied twice.
    return batch.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)


def to_images(batch: Tensor) -> npt.NDArray[np.uint8]:
    """Return a batch in [-1, 1] as 8-bit images, rounded and clipped.

    Args:
        batch: shape (N, 3, H, W).

    Returns:
        uint8, shape (N, H, W, 3).
    """
    levels = batch.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    images: npt.NDArray[Any] = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return images


def decoded_images(batch: Tensor) -> npt.NDArray[np.uint8]:
    """Return what `to_images` does of a decoder's pictures.

    Raises:
        StreamError: one has values that are not finite: no encoder's latents lead to such a picture.
    """
    if not bool(torch.isfinite(batch).all()):
        raise StreamError(
            "the decoded picture has values that are not numbers: the stream is damaged, or the model's precision is "
            "not enough for it"
        )
    return to_images(batch)


def pad_to_multiple(batch: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of `stride`.

    Args:
        batch: shape (N, C, H, W).
        stride: in pixels.
    """
    height, width = batch.shape[-2:]
    bottom, right = -height % stride, -width % stride
    if not bottom and not right:
        return batch
    return functional.pad(batch, (0, right, 0, bottom), mode="replicate")
