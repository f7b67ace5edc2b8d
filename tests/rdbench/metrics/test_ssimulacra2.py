import math

import numpy as np
import pytest
from scipy.signal import lfilter

from rdbench.metrics.ssimulacra2 import SSIMULACRA2


def recursive_gaussian(plane):
    """libjxl's blur along the last axis, as it runs: a recursion over the samples, with zeros outside.

    Charalampidis 2016: three second-order filters of sum x[n-N-1] + x[n+N-1]; see libjxl's gauss_blur.cc.
    """
    sigma = 1.5
    radius = round(3.2795 * sigma + 0.2546)
    omega = [k * math.pi / (2 * radius) for k in (1, 3, 5)]
    p1, p3, p5 = 1 / math.tan(omega[0] / 2), -1 / math.tan(omega[1] / 2), 1 / math.tan(omega[2] / 2)
    r1, r3, r5 = p1**2 / math.sin(omega[0]), -(p3**2) / math.sin(omega[1]), p5**2 / math.sin(omega[2])
    rho = [math.exp(-0.5 * sigma**2 * w**2) / radius for w in omega]
    d13, d35, d51 = p1 * r3 - r1 * p3, p3 * r5 - r3 * p5, p5 * r1 - r5 * p1
    zeta15, zeta35 = d35 / d13, d51 / d13
    beta = np.linalg.inv([[p1, p3, p5], [r1, r3, r5], [zeta15, zeta35, 1]]) @ [
        1,
        radius**2 - sigma**2,
        zeta15 * rho[0] + zeta35 * rho[1] + rho[2],
    ]
    length = plane.shape[-1]
    out = 0
    padded = np.concatenate([plane, np.zeros((*plane.shape[:-1], 2 * radius))], axis=-1)
    for b, w in zip(beta, omega, strict=True):
        taps = np.zeros(2 * radius + 1)
        taps[0] = taps[2 * radius] = -b * math.cos(w * (radius + 1))
        out = out + lfilter(taps, [1, -2 * math.cos(w), 1], padded, axis=-1)
    return out[..., radius - 1 : radius - 1 + length]


def reference_score(original, distorted):
    """SSIMULACRA 2 written down from libjxl's ssimulacra2.cc, sample by sample where that is affordable.

    Only the colour conversion and the trained weights are the package's.
    """
    from ssimulacra2 import ssimulacra2 as package

    def blur(planes):
        across = recursive_gaussian(np.moveaxis(planes, 2, 0))
        return np.moveaxis(recursive_gaussian(across.swapaxes(1, 2)).swapaxes(1, 2), 0, 2)

    def halve(planes):
        height, width = planes.shape[:2]
        rows, columns = np.arange((height + 1) // 2) * 2, np.arange((width + 1) // 2) * 2
        total = 0
        for dy in (0, 1):
            for dx in (0, 1):
                y, x = np.minimum(rows + dy, height - 1), np.minimum(columns + dx, width - 1)
                total = total + planes[np.ix_(y, x)]
        return total / 4

    def norms(error):
        return [error.mean(), (error**4).mean() ** 0.25]

    pair = [package.srgb_to_linear(image) for image in (original, distorted)]
    terms = {}
    for scale in range(6):
        if scale:
            pair = [halve(planes) for planes in pair]
        a, b = (package.make_positive_xyb(package.linear_rgb_to_xyb(planes)).swapaxes(0, 1) for planes in pair)
        mu_a, mu_b = blur(a), blur(b)
        variance = blur(a * a) - mu_a**2 + blur(b * b) - mu_b**2
        covariance = blur(a * b) - mu_a * mu_b
        ssim = np.maximum(0, 1 - (1 - (mu_a - mu_b) ** 2) * (2 * covariance + 0.0009) / (variance + 0.0009))
        edges = (1 + abs(b - mu_b)) / (1 + abs(a - mu_a)) - 1
        for c in range(3):
            maps = [ssim[..., c], np.maximum(edges[..., c], 0), np.maximum(-edges[..., c], 0)]
            terms[c, scale] = np.transpose([norms(error) for error in maps]).ravel()
    score = np.dot(package.weights, np.concatenate([terms[c, scale] for c in range(3) for scale in range(6)]))
    score *= 0.9562382616834844
    score = 2.326765642916932 * score - 0.020884521182843837 * score**2 + 6.248496625763138e-05 * score**3
    return 100 - 10 * score**0.6276336467831387


def test_reference_blur_is_a_blur():
    """The recursion above really is a unit-gain low-pass of sigma 1.5, zeros outside."""
    impulse = np.zeros(31)
    impulse[15] = 1
    response = recursive_gaussian(impulse)
    offsets = np.arange(31) - 15
    assert response.sum() == pytest.approx(1, abs=1e-9)
    assert response @ offsets == pytest.approx(0, abs=1e-9)
    assert response @ offsets**2 == pytest.approx(1.5**2, abs=1e-9)
    assert recursive_gaussian(np.ones(31))[0] < 0.7


@pytest.mark.parametrize("size", [(192, 240), (113, 118), (161, 127)])
@pytest.mark.parametrize("quality", [10, 60])
def test_agrees_with_libjxls_definition(photo, jpeg, size, quality):
    original = np.ascontiguousarray(photo[: size[0], : size[1]])
    distorted = jpeg(original, quality)
    assert SSIMULACRA2()(original, distorted) == pytest.approx(reference_score(original, distorted), abs=1e-6)


def test_is_near_the_package_where_borders_matter_little(photo, jpeg):
    """The package mirrors at two borders and drops scales below 225 pixels; else the two are the same."""
    import io

    import PIL.Image
    from ssimulacra2 import compute_ssimulacra2

    original = np.tile(photo, (3, 3, 1))
    distorted = jpeg(original, 80)
    files = []
    for image in (original, distorted):
        files.append(io.BytesIO())
        PIL.Image.fromarray(image).save(files[-1], "bmp")
    assert SSIMULACRA2()(original, distorted) == pytest.approx(compute_ssimulacra2(*files), abs=1)


def test_orientation_does_not_matter(photo, jpeg):
    distorted = jpeg(photo, 30)
    upright = SSIMULACRA2()(photo, distorted)
    turned = SSIMULACRA2()(photo.transpose(1, 0, 2), distorted.transpose(1, 0, 2))
    assert turned == pytest.approx(upright, abs=1e-9)


def test_has_no_lower_end(photo):
    assert SSIMULACRA2()(photo, 255 - photo) < -100
