"""Conversion by code points, against colour-science's tables and functions of ITU-T H.273."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rdbench.datasets import ImageError
from rdbench.datasets.cicp import Cicp, to_srgb_levels

PRIMARIES = [1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22]
TRANSFERS = [1, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17]  # it has 11 as sRGB, which H.273 has as BT.709
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def h273() -> Any:
    """Return colour-science's module of H.273."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of packages that it would like to have
        from colour.models.rgb import itut_h_273
    return itut_h_273


def srgb_levels(linear: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return sRGB levels, not rounded, of linear light."""
    light = np.clip(linear, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def assert_nearest(levels: npt.NDArray[np.uint8], expected: npt.NDArray[Any], slack: float = 0.01) -> None:
    assert np.abs(levels - expected).max() <= 0.5 + slack


@pytest.mark.parametrize("transfer", TRANSFERS)
def test_every_transfer_is_undone(h273: Any, transfer: int) -> None:
    linear = np.linspace(0.012, 1, 500)
    codes = np.asarray(h273.TRANSFER_CHARACTERISTICS_ITUTH273[transfer](linear))
    samples = np.rint(codes * 65535).astype(np.uint16).reshape(1, -1, 1)
    levels = to_srgb_levels(samples, 65535, Cicp(1, transfer))
    # Codes of 16 bits are coarse where a curve is flat: 0.2 levels at most.
    assert_nearest(levels.ravel(), srgb_levels(linear), 0.2)


@pytest.mark.parametrize("primaries", PRIMARIES)
def test_every_set_of_primaries_is_converted(h273: Any, primaries: int) -> None:
    from colour.adaptation import matrix_chromatic_adaptation_VonKries
    from colour.models import xy_to_XYZ

    samples = RNG.integers(0, 65536, (30, 20, 3), dtype=np.uint16)
    white, d65 = (np.asarray(xy_to_XYZ(h273.CCS_WHITEPOINTS_ITUTH273[code])) for code in (primaries, 1))
    adapt = np.asarray(matrix_chromatic_adaptation_VonKries(white, d65, "Bradford"))
    to_xyz = np.asarray(h273.MATRICES_ITUTH273_RGB_TO_XYZ[primaries])
    matrix = np.linalg.inv(np.asarray(h273.MATRICES_ITUTH273_RGB_TO_XYZ[1])) @ adapt @ to_xyz
    expected = srgb_levels(samples / 65535 @ matrix.T)
    # Its matrix of System M has the white of illuminant C with more digits than H.273.
    assert_nearest(to_srgb_levels(samples, 65535, Cicp(primaries, 8)), expected, 0.3 if primaries == 4 else 0.01)


def test_xvycc_is_bt709_where_codes_are_not_negative() -> None:
    ramp = np.arange(256).reshape(1, -1, 1)
    np.testing.assert_array_equal(to_srgb_levels(ramp, 255, Cicp(1, 11)), to_srgb_levels(ramp, 255, Cicp(1, 1)))


def test_display_p3_by_published_values() -> None:
    """The P3 colour of sRGB's red, and white and black, from the matrix that CSS Color 4 gives for display-p3."""
    inside = np.array([[[234, 51, 35], [255, 255, 255], [0, 0, 0], [128, 128, 128]]], np.uint8)
    levels = to_srgb_levels(inside, 255, Cicp(12, 13))
    assert np.abs(levels[0].astype(int) - [[255, 0, 0], [255, 255, 255], [0, 0, 0], [128, 128, 128]]).max() <= 1
    outside = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    np.testing.assert_array_equal(to_srgb_levels(outside, 255, Cicp(12, 13)), [[[255, 0, 0], [0, 255, 0]]])


@pytest.mark.parametrize("full", [255, 65535])
def test_srgb_stays_what_it_is(full: int) -> None:
    ramp = np.arange(full + 1).reshape(1, -1, 1)
    levels = to_srgb_levels(ramp, full, Cicp(1, 13))
    np.testing.assert_array_equal(levels, np.rint(ramp * (255 / full)).astype(np.uint8))


@pytest.mark.parametrize("primaries", [4, 9, 11, 12])
def test_gray_stays_gray(primaries: int) -> None:
    gray = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, -1, 1), 3, axis=2)
    levels = to_srgb_levels(gray, 255, Cicp(primaries, 13))
    np.testing.assert_array_equal(levels, gray)
    np.testing.assert_array_equal(to_srgb_levels(gray[..., :1], 255, Cicp(primaries, 13)), gray[..., :1])


def test_a_narrow_range_is_widened() -> None:
    levels = to_srgb_levels(np.array([[[0], [16], [126], [235], [255]]]), 255, Cicp(1, 13, full_range=False))
    assert levels.ravel().tolist() == [0, 0, 128, 255, 255]
    deep = to_srgb_levels(np.array([[[16 << 8], [126 << 8], [235 << 8]]]), 65535, Cicp(1, 13, full_range=False))
    assert deep.ravel().tolist() == [0, 128, 255]


def test_a_large_picture_is_converted_strip_by_strip() -> None:
    picture = RNG.integers(0, 256, (1100, 1024, 3), dtype=np.uint8)
    levels = to_srgb_levels(picture, 255, Cicp(9, 14))
    for rows in (slice(0, 5), slice(1020, 1030), slice(1095, 1100)):
        np.testing.assert_array_equal(levels[rows], to_srgb_levels(picture[rows], 255, Cicp(9, 14)))


@pytest.mark.parametrize(
    ("cicp", "message"),
    [
        (Cicp(9, 16), "HDR, PQ of BT.2100 (CICP 9/16): it has no defined rendering in sRGB, convert it to SDR first"),
        (Cicp(12, 18), "HDR, HLG of BT.2100 (CICP 12/18)"),
        (Cicp(1, 3), "transfer characteristics 3 are reserved in ITU-T H.273"),
        (Cicp(1, 200), "transfer characteristics 200 are reserved"),
        (Cicp(3, 13), "colour primaries 3 are reserved in ITU-T H.273"),
    ],
)
def test_what_has_no_defined_conversion_is_refused_by_name(cicp: Cicp, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        to_srgb_levels(np.zeros((1, 1, 3), np.uint8), 255, cicp)
    assert message in str(caught.value)


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 2), (2, 13)])
def test_unspecified_counts_as_srgb(primaries: int, transfer: int) -> None:
    assert Cicp(primaries, transfer).is_srgb
    assert not Cicp(primaries, transfer, full_range=False).is_srgb


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 2), (1, 1), (1, 8), (2, 16)])
def test_what_is_specified_otherwise_does_not(primaries: int, transfer: int) -> None:
    assert not Cicp(primaries, transfer).is_srgb
