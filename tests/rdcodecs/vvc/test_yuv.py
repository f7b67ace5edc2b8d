import subprocess

import numpy as np
import pytest

from rdcodecs.ffmpeg import find_ffmpeg
from rdcodecs.vvc.yuv import image_to_yuv, pad_to_even, yuv_size, yuv_to_image


def solid(colour, width=2, height=2):
    return np.full((height, width, 3), colour, np.uint8)


def samples(data, bits, shape):
    return np.frombuffer(data, np.uint8 if bits == 8 else "<u2").reshape(shape).astype(int)


# BT.709 by hand: Y = 0.2126 R + 0.7152 G + 0.0722 B; Cb = (B - Y) / 1.8556; Cr = (R - Y) / 1.5748.
@pytest.mark.parametrize(
    ("colour", "bits", "expected"),
    [
        ((0, 0, 0), 8, (0, 128, 128)),
        ((255, 255, 255), 8, (255, 128, 128)),
        ((255, 255, 255), 10, (1023, 512, 512)),
        ((255, 0, 0), 8, (54, 99, 255)),  # Cr = 127.5 + 128 is above the range
        ((0, 255, 0), 8, (182, 30, 12)),
        ((0, 0, 255), 8, (18, 255, 116)),
        ((0, 255, 0), 10, (732, 118, 47)),
        ((77, 77, 77), 8, (77, 128, 128)),
    ],
)
def test_sample_values_are_those_of_bt709_full_range(colour, bits, expected):
    for chroma, count in ((444, 4), (420, 1)):
        values = samples(image_to_yuv(solid(colour), chroma=chroma, bits=bits), bits, -1)
        assert list(values) == [expected[0]] * 4 + [expected[1]] * count + [expected[2]] * count


@pytest.mark.parametrize(("bits", "pixel_format"), [(8, "yuv444p"), (10, "yuv444p10le")])
def test_agrees_with_the_conversion_of_ffmpeg(bits, pixel_format):
    image = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    scaling = "scale=out_color_matrix=bt709:out_range=full:flags=accurate_rnd+full_chroma_int+bitexact"
    command = [
        find_ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-i", "-",
        "-vf", scaling, "-f", "rawvideo", "-pix_fmt", pixel_format, "-",
    ]  # fmt: skip
    theirs = subprocess.run(command, input=image.tobytes(), capture_output=True, check=True).stdout
    ours = image_to_yuv(image, chroma=444, bits=bits)
    # swscale rounds down in fixed point: one step.
    assert np.abs(samples(ours, bits, -1) - samples(theirs, bits, -1)).max() <= 1


@pytest.mark.parametrize(("bits", "worst"), [(8, 1), (10, 0)])
def test_444_round_trip(bits, worst):
    image = np.random.default_rng(1).integers(0, 256, (64, 50, 3), dtype=np.uint8)
    data = image_to_yuv(image, chroma=444, bits=bits)
    back = yuv_to_image(data, 50, 64, chroma=444, bits=bits)
    assert back.dtype == np.uint8
    assert np.abs(back.astype(int) - image).max() <= worst


def test_eight_bits_shifted_to_ten_are_the_same_colours():
    image = np.random.default_rng(2).integers(0, 256, (16, 18, 3), dtype=np.uint8)
    eight = image_to_yuv(image, chroma=444, bits=8)
    ten = (samples(eight, 8, -1) * 4).astype("<u2").tobytes()
    shifted = yuv_to_image(ten, 18, 16, chroma=444, bits=10, peak=1020)
    assert np.array_equal(shifted, yuv_to_image(eight, 18, 16, chroma=444, bits=8))


def test_halved_chroma_is_the_mean_of_four():
    image = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    full = samples(image_to_yuv(image, chroma=444, bits=10), 10, (3, 6, 8))
    half = samples(image_to_yuv(image, chroma=420, bits=10), 10, -1)
    assert np.array_equal(half[:48], full[0].ravel())
    for plane, quarter in zip(full[1:], np.split(half[48:], 2), strict=True):
        mean = (plane[0::2, 0::2] + plane[1::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 1::2]) / 4
        # The mean is taken before rounding, hence up to one step between them.
        assert np.abs(quarter.reshape(3, 4) - mean).max() <= 1


def test_chroma_stays_in_place_through_420():
    # A linear ramp comes back from its means by bilinear interpolation, if both agree on the siting.
    # (Another siting moves it by half a pixel or more, which is 3 steps here.)
    ramp = np.arange(40) * 6
    image = np.zeros((20, 40, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = ramp, 120, 240 - ramp
    for turned in (image, np.ascontiguousarray(image.transpose(1, 0, 2))):
        height, width = turned.shape[:2]
        back = yuv_to_image(image_to_yuv(turned, chroma=420, bits=10), width, height, chroma=420, bits=10).astype(int)
        assert np.abs(back - turned)[1:-1, 1:-1].max() <= 1


def test_interpolation_weights_and_edges():
    # One chroma sample of four is set: its surroundings show the weights 9, 3, 3, 1 and the replicated edge.
    size = yuv_size(4, 4, chroma=420, bits=10)
    planes = np.full(size // 2, 512, "<u2")
    planes[:16] = 0
    planes[16 + 4] = 512 + 160  # Cr
    red = yuv_to_image(planes.tobytes(), 4, 4, chroma=420, bits=10)[..., 0]
    weights = np.outer([4, 3, 1, 0], [4, 3, 1, 0]) / 16
    assert np.array_equal(red, np.rint(255 * 1.5748 * weights * 160 / 1023))


def test_out_of_range_colours_saturate():
    bright = np.array([1023, 1023, 1023], "<u2").tobytes()
    dark = np.array([0, 0, 0], "<u2").tobytes()
    # R and B overflow with all chroma at the top; with Y 0 and chroma 0 they underflow.
    assert yuv_to_image(bright, 1, 1, chroma=444, bits=10)[0, 0, [0, 2]].tolist() == [255, 255]
    assert yuv_to_image(dark, 1, 1, chroma=444, bits=10)[0, 0, [0, 2]].tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(16, 16), (17, 16), (16, 19), (21, 33)])
def test_padding_repeats_the_edge(shape):
    image = np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)
    padded = pad_to_even(image)
    assert padded.shape == (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, 3)
    rows = np.minimum(np.arange(padded.shape[0]), shape[0] - 1)
    columns = np.minimum(np.arange(padded.shape[1]), shape[1] - 1)
    assert np.array_equal(padded, image[rows][:, columns])


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="a 4x2 picture has 24 bytes of samples, not 23"):
        yuv_to_image(bytes(23), 4, 2, chroma=444, bits=8)
    with pytest.raises(ValueError, match="4:2:0 needs even sides, not 5x4"):
        yuv_size(5, 4, chroma=420, bits=8)
    with pytest.raises(ValueError, match="chroma format 422"):
        yuv_size(4, 4, chroma=422, bits=8)
