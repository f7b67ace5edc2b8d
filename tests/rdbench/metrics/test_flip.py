import numpy as np
import pytest

from rdbench.metrics.flip import FLIP

# CIE XYZ (D65) of the linear sRGB primaries, one column each.
TO_XYZ = np.array(
    [
        [0.41238656, 0.35759149, 0.18045049],
        [0.21263682, 0.71518298, 0.07218020],
        [0.01933062, 0.11919716, 0.95037259],
    ]
)


def hunt_lab(rgb):
    """CIELAB of an 8-bit sRGB colour, chroma scaled with lightness (the Hunt effect; FLIP, section 4.1.2)."""
    s = np.array(rgb) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    t = TO_XYZ @ linear / TO_XYZ.sum(axis=1)
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = 116 * y - 16
    return np.array([lightness, 5 * (x - y) * lightness, 2 * (y - z) * lightness])


def colour_error(a, b):
    """FLIP's colour pipeline for two flat colours, which its filters leave as they are (section 4.1)."""

    def hyab(p, q):
        return (abs(p[0] - q[0]) + np.hypot(*(p - q)[1:])) ** 0.7

    largest = hyab(hunt_lab((0, 255, 0)), hunt_lab((0, 0, 255)))
    knee = 0.4 * largest
    error = hyab(hunt_lab(a), hunt_lab(b))
    return 0.95 * error / knee if error < knee else 0.95 + 0.05 * (error - knee) / (largest - knee)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((0, 0, 0), (255, 255, 255)),
        ((0, 255, 0), (0, 0, 255)),
        ((128, 128, 128), (130, 128, 128)),
        ((200, 30, 90), (180, 60, 100)),
        ((5, 5, 5), (9, 2, 7)),
    ],
)
def test_flat_colours(a, b):
    """Closed form: flat images have no features, so the error is that of their colours everywhere."""
    reference, image = (np.full((40, 50, 3), colour, np.uint8) for colour in (a, b))
    assert FLIP()(reference, image) == pytest.approx(colour_error(a, b), abs=5e-5)


def test_largest_error_is_one():
    """Green against blue is the largest difference there is."""
    green, blue = (np.full((40, 50, 3), colour, np.uint8) for colour in ((0, 255, 0), (0, 0, 255)))
    assert FLIP()(green, blue) == pytest.approx(1, abs=1e-6)


def test_features_add_to_the_error(photo):
    """An edge that is lost costs more than the colours alone, averaged."""
    flat = np.full((64, 64, 3), 128, np.uint8)
    edge = flat.copy()
    edge[:, 32:] = 160
    colours = colour_error((128,) * 3, (160,) * 3) / 2
    assert FLIP()(edge, flat) > 1.05 * colours


def test_viewing_condition_is_stated():
    assert FLIP().fingerprint()["ppd"] == pytest.approx(67.0206, abs=1e-4)
