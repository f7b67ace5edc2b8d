"""PerCo as it ships."""

import numpy as np
import pytest
from skimage.data import astronaut

from rdcodecs import StreamError
from rdcodecs.perco.codec import PerCoCodec

CROP = np.ascontiguousarray(astronaut()[:192, 128:320])


@pytest.fixture(scope="module")
def codec() -> PerCoCodec:
    return PerCoCodec(device="cpu")


def test_more_bits_make_a_better_picture(codec: PerCoCodec) -> None:
    levels = range(len(codec.model.points))
    assert len(levels) >= 4
    streams = [codec.encode(CROP, level) for level in levels]
    assert [len(data) for data in streams] == sorted(len(data) for data in streams)
    made = [codec.decode(streams[level], steps=5).astype(float) for level in (levels[0], levels[-1])]
    errors = [np.square(picture - CROP).mean() for picture in made]
    assert errors[1] < 0.7 * errors[0]


def test_the_index_model_saves_bits(codec: PerCoCodec) -> None:
    image = astronaut()
    for level in range(len(codec.model.points)):
        sizes = codec.sizes(codec.encode(image, level))
        assert 8 * sizes.indices < sizes.uniform_indices + 16


def test_damage_is_refused(codec: PerCoCodec) -> None:
    data = bytearray(codec.encode(CROP, 0))
    data[len(data) // 2] ^= 4
    with pytest.raises(StreamError):
        codec.decode(bytes(data))


def test_the_weights_are_small(codec: PerCoCodec) -> None:
    folder = codec._folder / "perco"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 40e6
