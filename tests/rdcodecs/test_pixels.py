import numpy as np
import pytest
import torch

from rdcodecs.codec import StreamError
from rdcodecs.pixels import decoded_images, pad_to_multiple, to_images, to_tensor


def test_every_level_comes_back() -> None:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    batch = to_tensor(image)
    assert (float(batch.min()), float(batch.max())) == (-1.0, 1.0)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(to_images(batch)[0], image)


def test_values_are_rounded_and_clipped() -> None:
    levels = torch.tensor([-9.0, 9.0, 99.6, 100.4]) / 127.5 - 1
    levels[0], levels[1] = -1.7, 1.7
    batch = levels.reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_images(batch)[0, 0, :, 0].tolist() == [0, 255, 100, 100]


def test_channels_stay_in_order() -> None:
    image = np.zeros((2, 20, 18, 3), np.uint8)
    image[1, 3, 5] = (10, 20, 30)
    assert ((to_tensor(image)[1, :, 3, 5] + 1) * 127.5).round().tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.int32), np.zeros((8, 8, 4), np.uint8)]
)
def test_what_is_no_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        to_tensor(wrong)


def test_padding_repeats_the_border() -> None:
    batch = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(batch, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_to_multiple(padded, 4) is padded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_decoded_picture_that_is_not_finite_is_damage(value: float) -> None:
    batch = torch.zeros(1, 3, 4, 5)
    assert decoded_images(batch).shape == (1, 4, 5, 3)
    batch[0, 1, 2, 3] = value
    with pytest.raises(StreamError, match="values that are not numbers"):
        decoded_images(batch)
