"""The metrics of piq against other implementations of the same papers."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from rdbench.metrics import UndefinedScoreError, metric_class

YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def _halved(plane):
    """The average of every 2x2 block; beyond an odd border are zeros, as with the authors' programs."""
    padded = np.pad(plane, [(0, side % 2) for side in plane.shape])
    return (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4


def _gmsd(reference, image):
    """Xue et al. 2014, eq. 4 to 6, after the authors' MATLAB program."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3

    def gradient(plane):
        return np.hypot(convolve2d(plane, prewitt, "same"), convolve2d(plane, prewitt.T, "same"))

    a, b = (gradient(_halved(each @ YIQ[0])) for each in (reference, image))
    return ((2 * a * b + 170) / (a**2 + b**2 + 170)).std()


def _haarpsi(reference, image):
    """Reisenhofer et al. 2018, eq. 10 to 12, after the authors' program, which does not square its constant."""
    c, alpha = 30.0, 4.2
    planes = [[_halved(each @ axis) for axis in YIQ] for each in (reference, image)]

    def convolve(plane, kernel):
        # MATLAB's "same", for kernels of even size, starts a sample later than scipy's.
        turned = convolve2d(np.rot90(plane, 2), np.rot90(kernel, 2), "same")
        return np.abs(np.rot90(turned, 2))

    def wavelet(plane, scale, across):
        kernel = np.full((2**scale, 2**scale), 2.0**-scale)
        kernel[: 2 ** (scale - 1)] *= -1
        return convolve(plane, kernel.T if across else kernel)

    def similarity(x, y):
        return (2 * x * y + c) / (x**2 + y**2 + c)

    maps, weights = [], []
    for across in (False, True):
        levels = [[wavelet(planes[k][0], scale, across) for k in (0, 1)] for scale in (1, 2, 3)]
        maps.append(sum(similarity(*levels[k]) for k in (0, 1)) / 2)
        weights.append(np.maximum(*levels[2]))
    colours = [[convolve(planes[k][axis], np.full((2, 2), 0.25)) for k in (0, 1)] for axis in (1, 2)]
    maps.append(sum(similarity(*each) for each in colours) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    maps, weights = np.array(maps), np.array(weights)
    mean = (weights / (1 + np.exp(-alpha * maps))).sum() / weights.sum()
    return (np.log(mean / (1 - mean)) / alpha) ** 2


@pytest.mark.parametrize("size", [(192, 240), (161, 200), (97, 64)])
@pytest.mark.parametrize(("name", "other"), [("gmsd", _gmsd), ("haarpsi", _haarpsi)])
def test_equals_the_formulas_of_the_paper(name, other, size, make, photo, jpeg):
    height, width = size
    reference, image = photo[:height, :width], jpeg(photo, 15)[:height, :width]
    assert make(name)(reference, image) == pytest.approx(other(reference.astype(float), image.astype(float)), rel=2e-3)


def test_vif_equals_torchmetrics(make, photo, jpeg):
    """torchmetrics takes the mean over channels, this one the luma: the same on grey images."""
    import torch
    from torchmetrics.functional.image import visual_information_fidelity

    grey = [np.repeat(each[:, :, 1:2], 3, axis=2) for each in (photo, jpeg(photo, 15))]
    tensors = [torch.tensor(each[None, :, :, 1:2].transpose(0, 3, 1, 2).astype(np.float32)) for each in grey]
    theirs = float(visual_information_fidelity(tensors[1], tensors[0]))
    assert make("vif")(*grey) == pytest.approx(theirs, abs=1e-4)


def test_the_reference_is_the_reference(make, photo, jpeg):
    """VIF tells the two images apart: more contrast than the reference's passes 1."""
    softer = (photo * 0.7 + 38).round().astype(np.uint8)
    assert make("vif")(softer, photo) > 1
    assert make("vif")(photo, softer) < 1


# Values of pyiqa 0.1.16 (FSIM) on these very pictures; that package is too large to install for a test.
def test_fsim_equals_pyiqa(make, drawn):
    assert make("fsim")(*drawn) == pytest.approx(0.948008, abs=1e-4)


@pytest.mark.parametrize("level", [0, 120, 255])
def test_flat_picture(level, make):
    """IW-SSIM weighs by content, and a flat picture has none: no value rather than a wrong one."""
    flat = np.full((192, 192, 3), level, np.uint8)
    with pytest.raises(UndefinedScoreError, match="iw_ssim is not defined for a picture with so little content"):
        make("iw_ssim")(flat, flat)
    for name in ("vif", "fsim", "gmsd", "haarpsi"):
        assert make(name)(flat, flat.copy()) == (0.0 if name == "gmsd" else 1.0)


def test_fingerprint():
    import importlib.metadata

    assert metric_class("fsim")().fingerprint() == {"piq": importlib.metadata.version("piq")}
