import math

import numpy as np
import pytest

from rdbench.metrics.psnr import PSNR


@pytest.mark.parametrize("step", [1, 2, 17, 254, 255])
def test_constant_difference(step):
    """Closed form: every sample off by d gives 20·log10(255/d); no wrap-around at 8 bits."""
    black = np.zeros((20, 30, 3), np.uint8)
    assert PSNR()(black, black + np.uint8(step)) == pytest.approx(20 * math.log10(255 / step), abs=1e-12)


def test_one_mse_over_the_three_channels():
    """An error in one channel of three costs a third of the MSE, not an infinite PSNR in the other two."""
    black = np.zeros((16, 16, 3), np.uint8)
    red = black.copy()
    red[..., 0] = 51
    assert PSNR()(black, red) == pytest.approx(10 * math.log10(255**2 / (51**2 / 3)), abs=1e-12)


def test_one_sample_of_a_large_image_counts():
    """The sum is exact: a float32 mean would lose a difference of one in a million samples."""
    black = np.zeros((600, 600, 3), np.uint8)
    almost = black.copy()
    almost[0, 0, 0] = 1
    assert PSNR()(black, almost) == pytest.approx(10 * math.log10(255**2 * black.size), abs=1e-12)


def test_agrees_with_torchmetrics(photo, jpeg):
    import torch

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()  # torchmetrics imports it
    from torchmetrics.functional.image import peak_signal_noise_ratio

    image = jpeg(photo, 30)
    theirs = peak_signal_noise_ratio(
        torch.tensor(image, dtype=torch.float64), torch.tensor(photo, dtype=torch.float64), data_range=255.0
    )
    assert PSNR()(photo, image) == pytest.approx(float(theirs), abs=1e-5)
