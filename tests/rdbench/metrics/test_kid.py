import math

import numpy as np
import pytest

from rdbench.metrics import MetricUnavailableError, UndefinedScoreError
from rdbench.metrics.kid import KIDVGG
from rdbench.metrics.set_metric import patches, score_set


class Means(KIDVGG):
    """KID on the mean colour of a patch: quick, and anyone can follow it."""

    def features(self, patches):
        return patches.astype(float).mean(axis=(1, 2)) / 255


@pytest.fixture
def pairs():
    """Eight originals of several sizes, with copies that are darker and noisy."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(8):
        height, width = ((256, 300), (512, 512), (520, 256))[number % 3]
        reference = rng.integers(0, 256, (height // 64 + 1, width // 64 + 1, 3)).repeat(64, 0).repeat(64, 1)
        reference = reference[:height, :width].astype(np.uint8)
        found.append((reference, reference // 2))
    return found


@pytest.mark.parametrize(
    ("size", "count"), [((512, 768), 8), ((512, 512), 5), ((256, 256), 1), ((511, 700), 2), ((255, 900), 0)]
)
def test_patches_by_hific(size, count):
    """⌊H/f⌋·⌊W/f⌋ patches, and (⌊H/f⌋ - 1)·(⌊W/f⌋ - 1) shifted by half a patch."""
    height, width = size
    image = np.arange(height * width * 3).reshape(height, width, 3)
    found = list(patches(image))
    assert len(found) == count
    assert all(patch.shape == (256, 256, 3) for patch in found)
    if size == (512, 512):
        corners = [divmod(int(patch[0, 0, 0]) // 3, width) for patch in found]
        assert corners == [(0, 0), (0, 256), (256, 0), (256, 256), (128, 128)]


def test_equals_the_formula(pairs):
    """The estimator written out: the mean over ordered pairs of patches from two different images."""
    metric = Means()
    x = [metric.features(np.stack(list(patches(reference)))) for reference, _ in pairs]
    y = [metric.features(np.stack(list(patches(image)))) for _, image in pairs]

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    terms = [
        kernel(x[i][p], x[j][q]) + kernel(y[i][p], y[j][q]) - kernel(x[i][p], y[j][q]) - kernel(x[j][q], y[i][p])
        for i in range(8)
        for j in range(8)
        if i != j
        for p in range(len(x[i]))
        for q in range(len(x[j]))
    ]
    score = score_set(metric, pairs)
    assert score.value == pytest.approx(np.mean(terms), rel=1e-9)
    assert (score.images, score.patches) == (8, 3 * 1 + 3 * 5 + 2 * 2)
    assert score.low < score.value < score.high


def test_equal_sets(pairs):
    score = score_set(Means(), [(reference, reference.copy()) for reference, _ in pairs])
    assert (score.value, score.low, score.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_unbiased():
    """Two sets drawn from one distribution: 0 on average, though every single value is not."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        x, y = rng.normal(size=(2, 10, 2, 4))
        values.append(KIDVGG().distance(list(x), list(y), np.ones((1, 10)))[0])
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert np.std(values) > 0.1


def test_interval_is_reproducible_and_needs_six_images(pairs):
    assert score_set(Means(), pairs) == score_set(Means(), iter(pairs))
    five = score_set(Means(), pairs[:5])
    assert math.isnan(five.low)
    assert math.isnan(five.high)
    assert five.value > 0


def test_small_images_take_no_part(pairs):
    small = np.zeros((255, 400, 3), np.uint8)
    assert score_set(Means(), [*pairs, (small, small)]) == score_set(Means(), pairs)
    with pytest.raises(UndefinedScoreError, match=r"kid_vgg needs two images of 256x256 pixels: there are 1"):
        score_set(Means(), [(small, small), pairs[0]])


def test_images_of_different_size(pairs):
    with pytest.raises(ValueError, match=r"^kid_vgg: the images differ in size"):
        score_set(Means(), [(pairs[0][0], pairs[0][0][1:])])


def test_features_equal_torchvision(lpips_weights, monkeypatch, photo):
    """VGG16 as torchvision builds it, on the same random weights."""
    import torch

    from rdcodecs.torchvision_compat import ensure_torchvision

    ensure_torchvision()
    from torchvision import models

    monkeypatch.setattr("rdbench.metrics.kid.VGG16", lpips_weights.trunks["vgg"])
    patch = np.pad(photo, ((0, 64), (0, 16), (0, 0)), mode="reflect")[None].repeat(5, axis=0)
    patch[4] = 255 - patch[4]
    metric = KIDVGG()
    metric.check()
    ours = metric.features(patch)
    with torch.device("meta"):
        network = models.vgg16(weights=None).features[:30].eval()
    state = {name.removeprefix("features."): value for name, value in lpips_weights.states["vgg"].items()}
    network.load_state_dict(state, assign=True)
    mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = torch.tensor(((patch[3:] / 255 - mean) / spread).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.inference_mode():
        theirs = network(images).mean(dim=(2, 3)).numpy()
    assert ours.shape == (5, 512)
    np.testing.assert_allclose(ours[3:], theirs, rtol=1e-3, atol=1e-3 * theirs.max())


def test_missing_backbone(monkeypatch, tmp_path):
    monkeypatch.setenv("RDBENCH_CACHE", str(tmp_path))
    with pytest.raises(MetricUnavailableError, match="rdbench fetch lpips"):
        KIDVGG().check()
