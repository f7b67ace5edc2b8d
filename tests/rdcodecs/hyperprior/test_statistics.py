import numpy as np
import torch

from rdcodecs.hyperprior.statistics import STATISTICS_BYTES, pack_statistics, statistics, unpack_statistics
from rdcodecs.pixels import to_tensor


def test_six_bytes_hold_mean_and_deviation_to_half_a_step() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    image[..., 1] //= 3
    packed = pack_statistics(to_tensor(image))
    assert len(packed) == STATISTICS_BYTES
    found = unpack_statistics(packed)
    np.testing.assert_allclose((found.mean.flatten() + 1) * 127.5, image.mean(axis=(0, 1)), atol=0.51)
    np.testing.assert_allclose(found.deviation.flatten() * 127.5, image.std(axis=(0, 1)), atol=0.26)


def test_extremes_fit() -> None:
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    image[:8] = 255
    found = unpack_statistics(pack_statistics(to_tensor(image)))
    torch.testing.assert_close(found.deviation, torch.ones(1, 3, 1, 1))
    torch.testing.assert_close(statistics(to_tensor(image)).deviation, torch.ones(1, 3, 1, 1))
