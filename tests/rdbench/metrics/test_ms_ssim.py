import math

import numpy as np
import pytest

from rdbench.metrics.ms_ssim import MSSSIM, MSSSIMdB

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@pytest.fixture(scope="module")
def torchmetrics_image():
    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()  # torchmetrics imports it
    import torchmetrics.functional.image

    return torchmetrics.functional.image


def tensor(image):
    """One image with three channels as three with one; float64."""
    import torch

    return torch.tensor(image, dtype=torch.float64).permute(2, 0, 1).unsqueeze(1)


@pytest.mark.parametrize("quality", [5, 30, 90])
@pytest.mark.parametrize("size", [(176, 176), (192, 240)])
def test_agrees_with_the_ssim_of_torchmetrics(torchmetrics_image, photo, jpeg, quality, size):
    """Eq. 7 put together from another package's SSIM and contrast maps, without their padded borders.

    Sides are multiples of 16: pytorch-msssim pads odd sizes with zeros before it halves them.
    """
    from torch.nn.functional import avg_pool2d

    reference = np.ascontiguousarray(photo[: size[0], : size[1]])
    image = jpeg(reference, quality)
    a, b = tensor(reference), tensor(image)
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = avg_pool2d(a, 2), avg_pool2d(b, 2)
        options = {"data_range": 255.0, "sigma": 1.5, "kernel_size": 11, "reduction": "none"}
        if scale < 4:
            _, terms = torchmetrics_image.structural_similarity_index_measure(
                b, a, return_contrast_sensitivity=True, **options
            )
        else:
            _, ssim = torchmetrics_image.structural_similarity_index_measure(b, a, return_full_image=True, **options)
            terms = ssim[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
        product = product * terms**weight
    assert MSSSIM()(reference, image) == pytest.approx(float(product.mean()), abs=5e-6)  # float32


@pytest.mark.parametrize(("quality", "tolerance"), [(5, 1e-3), (30, 5e-5), (90, 1e-5)])
def test_is_near_the_ms_ssim_of_torchmetrics(torchmetrics_image, photo, jpeg, quality, tolerance):
    """It takes the mirrored border into the coarsest scale: a difference that grows with the distortion."""
    image = jpeg(photo, quality)
    theirs = torchmetrics_image.multiscale_structural_similarity_index_measure(
        tensor(image), tensor(photo), data_range=255.0, kernel_size=11, sigma=1.5, reduction="none"
    )
    assert MSSSIM()(photo, image) == pytest.approx(float(theirs.mean()), abs=tolerance)


def test_negative_contrast_gives_a_number(photo):
    """A negative has negative contrast terms, which have no fractional power: 0, and no NaN."""
    import torch
    from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim

    from rdbench.metrics.tensors import to_tensor

    window = _fspecial_gauss_1d(11, 1.5).repeat(3, 1, 1, 1)
    _, contrast = _ssim(to_tensor(photo), to_tensor(255 - photo), 255, window)
    assert (contrast < 0).all()
    assert torch.isnan(contrast**0.0448).all()

    value = MSSSIM()(photo, 255 - photo)
    assert value == 0
    assert MSSSIMdB().derive(value) == 0


def test_noise_stays_in_range():
    rng = np.random.default_rng(1)
    for _ in range(3):
        a, b = rng.integers(0, 256, (2, 161, 200, 3), dtype=np.uint8)
        assert 0 <= MSSSIM()(a, b) <= 1


@pytest.mark.parametrize(("raw", "decibels"), [(0.0, 0.0), (0.9, 10.0), (0.99, 20.0), (0.5, 10 * math.log10(2))])
def test_decibels(raw, decibels):
    assert MSSSIMdB().derive(raw) == pytest.approx(decibels, abs=1e-9)


def test_decibels_of_identical_images(photo):
    assert MSSSIMdB().derive(MSSSIM()(photo, photo)) == math.inf


def test_decibels_derive_from_ms_ssim_and_share_its_direction():
    assert MSSSIMdB.base == MSSSIM.name
    assert MSSSIMdB.higher_is_better == MSSSIM.higher_is_better


def test_tensor_has_the_layout_that_is_fast(photo):
    """Torch tells its layouts by the strides alone, that of the single image included."""
    import torch

    from rdbench.metrics.tensors import to_tensor

    tensor = to_tensor(photo)
    assert tensor.shape == (1, 3, *photo.shape[:2])
    assert tensor.stride() == tensor.contiguous(memory_format=torch.channels_last).stride()
