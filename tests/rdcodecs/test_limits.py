"""The limit on a picture's size: set by the environment, and the same for encoders and decoders."""

import numpy as np
import pytest

from rdcodecs import EncodeError, StreamError
from rdcodecs.codec import OptionError, as_image, check_pixels, max_pixels


def test_the_limit_is_2_to_the_26_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDBENCH_MAX_PIXELS", raising=False)
    assert max_pixels() == 1 << 26
    for text, value in (("", 1 << 26), (" 4096 ", 4096), ("256", 256), ("0005000", 5000), ("9" * 18, 10**18 - 1)):
        monkeypatch.setenv("RDBENCH_MAX_PIXELS", text)
        assert max_pixels() == value


@pytest.mark.parametrize(
    "text", ["0", "255", "-5", "1e6", "2^26", "1_000", "4 096", "٤٠٩٦", "true", "0x1000", "9" * 5000, "1\n2"]
)
def test_a_limit_that_is_no_number_of_pixels_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDBENCH_MAX_PIXELS", text)
    for ask in (max_pixels, lambda: as_image(np.zeros((16, 16, 3), np.uint8))):
        with pytest.raises(OptionError, match="give a whole number of pixels from 256") as caught:
            ask()
        assert str(caught.value).startswith("RDBENCH_MAX_PIXELS is ")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250


def test_an_image_over_the_limit_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDBENCH_MAX_PIXELS", "1024")
    assert as_image(np.zeros((32, 32, 3), np.uint8)).shape == (32, 32, 3)
    with pytest.raises(EncodeError, match="the image is 33x32, over the limit of 1024 pixels: RDBENCH_MAX_PIXELS=1056"):
        as_image(np.zeros((32, 33, 3), np.uint8))


def test_what_is_raised_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDBENCH_MAX_PIXELS", "1024")
    check_pixels(32, 32, StreamError, "it")
    with pytest.raises(StreamError, match="it is 1025x1, over"):
        check_pixels(1025, 1, StreamError, "it")
