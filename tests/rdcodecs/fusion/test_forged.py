"""Streams of fusion that no encoder wrote, with a checksum that is right."""

from pathlib import Path

import pytest

from forged_streams import forge, sealed, split
from rdcodecs.codec import StreamError
from rdcodecs.fusion.codec import FusionCodec
from small_codecs import picture


@pytest.fixture(scope="module")
def codec(small_weights: Path, small_prior: Path) -> FusionCodec:
    return FusionCodec(weights=str(small_weights), prior=str(small_prior), renormalize="source", device="cpu")


@pytest.mark.parametrize("packed", [bytes(6), b"\xff" * 6, b"\xff\xff\xff\0\0\0", b"\0\0\0\xff\xff\xff"])
def test_any_statistics_make_a_picture(codec: FusionCodec, packed: bytes) -> None:
    header, payload = split(codec.encode(picture(48, 64), 1))
    data = sealed(codec.hyperprior.model.digest, header, packed + payload[6:])
    for steps in (0, 1):
        assert codec.decode(data, steps=steps).shape == (48, 64, 3)


def test_what_the_codec_has_not_is_refused(codec: FusionCodec) -> None:
    header, payload = split(codec.encode(picture(48, 64), 1))
    digest = codec.hyperprior.model.digest
    streams = {
        "its level reads 9": forge(digest, level=9, flags=1, payload=payload),
        "its flags 3": forge(digest, level=1, flags=3, payload=payload),
        "its colour statistics end early": forge(digest, level=1, flags=1, payload=payload[:5]),
        "no colour statistics": sealed(digest, header[:1] + bytes([header[1] & 0xF0]) + header[2:], payload[6:]),
        "over the limit": forge(digest, level=1, flags=1, size=(65535, 65535), payload=payload),
        "takes at least": forge(digest, level=1, flags=1, size=(8000, 8000), payload=payload[:30]),
        "damaged": sealed(digest, header, payload[:-2]),
    }
    for said, data in streams.items():
        with pytest.raises(StreamError, match=said):
            codec.decode(data, steps=1)
        with pytest.raises(StreamError, match=said):
            codec.decode_batch([data], steps=1)
