import math

import numpy as np
import pytest

from rdcodecs import Codec, CodecError, EncodeError, OptionError, RateError, RateSpec, StreamError
from rdcodecs.codec import MIN_SIDE, as_image

QP = RateSpec("QP", 0, 63, higher_is_larger=False)
DISTANCE = RateSpec("distance", 0.2, 25, integer=False, higher_is_larger=False)


@pytest.mark.parametrize("rate", [0, 63, 22, 22.0, np.int64(22), np.float64(22)])
def test_a_rate_in_range_is_returned(rate):
    assert QP.validate(rate) == rate


def test_a_fraction_is_accepted_where_rates_are_not_whole():
    assert DISTANCE.validate(0.2) == 0.2
    assert DISTANCE.validate(7.25) == 7.25


@pytest.mark.parametrize("rate", [-1, 64, 63.5, math.nan, math.inf, -math.inf])
def test_a_rate_out_of_range_is_refused_with_the_range(rate):
    with pytest.raises(RateError, match=rf"^QP {rate:g} is out of range: use 0 to 63$"):
        QP.validate(rate)


def test_a_fraction_is_refused_where_rates_are_whole():
    with pytest.raises(RateError, match=r"^QP 22\.5 is not a whole number$"):
        QP.validate(22.5)


@pytest.mark.parametrize("shape", [(MIN_SIDE, MIN_SIDE, 3), (17, 300, 3)])
def test_an_image_is_returned_contiguous(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(as_image(image), image)
    flipped = as_image(image[:, ::-1])
    assert flipped.flags.c_contiguous
    np.testing.assert_array_equal(flipped, image[:, ::-1])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((20, 20), np.uint8), r"not uint8 of shape \(20, 20\)$"),
        (np.zeros((20, 20, 4), np.uint8), r"not uint8 of shape \(20, 20, 4\)$"),
        (np.zeros((3, 20, 20), np.uint8), r"not uint8 of shape \(3, 20, 20\)$"),
        (np.zeros((20, 20, 3), np.float32), r"not float32 of shape \(20, 20, 3\)$"),
        (np.zeros((15, 40, 3), np.uint8), r"^the image is 40x15: both sides must be at least 16 pixels$"),
        (np.zeros((40, 15, 3), np.uint8), r"^the image is 15x40: "),
        (np.zeros((0, 40, 3), np.uint8), r"^the image is 40x0: "),
    ],
)
def test_what_is_not_an_image_is_refused_with_what_it_is(image, message):
    with pytest.raises(EncodeError, match=message):
        as_image(image)


def test_a_codec_that_lacks_a_method_cannot_be_made():
    class Half(Codec):
        name = "half"
        rate = QP

        def fingerprint(self):
            return {}

    with pytest.raises(TypeError, match=r"abstract.*decode.*encode"):
        Half()


def test_errors_can_be_caught_as_one_and_as_what_they_are():
    for error in (EncodeError, OptionError, RateError, StreamError):
        assert issubclass(error, CodecError)
    for error in (OptionError, RateError, StreamError):
        assert issubclass(error, ValueError)
