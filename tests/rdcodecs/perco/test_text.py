import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdcodecs.codec import EncodeError, StreamError
from rdcodecs.perco.text import LONGEST, pack_text, reference_length, unpack_text

CAPTIONS = [
    "a brown dog running along the beach with a ball in its mouth",
    "two women sitting at a table with plates of food and glasses of wine",
    "an aerial view of a harbor full of sailboats",
    "a kitchen with wooden cabinets and a white stove",
    "a close up of a yellow flower with water drops",
    "portrait of an old sailor, oil painting, dramatic lighting, highly detailed, trending on artstation",
    "isometric city block at night, neon, 3d render, octane",
    "un petit chat noir sur le toit",
]


@given(st.text(max_size=300), st.binary(max_size=20))
def test_a_caption_says_where_it_ends(text: str, rest: bytes) -> None:
    assert unpack_text(pack_text(text) + rest) == (text, rest)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_no_caption_is_longer_than_in_the_reference(caption: str) -> None:
    assert reference_length(caption) == len(zlib.compress(caption.encode(), 9))
    # The six bytes of zlib's frame are gone whatever the words.
    assert len(pack_text(caption)) <= reference_length(caption) - 6


def test_captions_take_about_half_of_what_they_take_in_the_reference() -> None:
    ours, theirs = (sum(map(length, CAPTIONS)) for length in (lambda text: len(pack_text(text)), reference_length))
    assert ours < 0.6 * theirs


def test_a_caption_that_is_too_long_is_refused() -> None:
    pack_text("x" * LONGEST)
    with pytest.raises(EncodeError, match=f"the caption has {LONGEST + 2} bytes: at most {LONGEST} can be sent"):
        pack_text("ä" * (LONGEST // 2 + 1))


def test_what_unpacks_without_end_is_refused() -> None:
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = coder.compress(bytes(10_000_000)) + coder.flush()
    with pytest.raises(StreamError, match="its caption does not end"):
        unpack_text(bomb)


@given(st.binary(max_size=60))
def test_other_bytes_are_a_caption_or_refused(data: bytes) -> None:
    try:
        text, rest = unpack_text(data)
    except StreamError:
        return
    assert data.endswith(rest)
    assert len(text) <= LONGEST


def test_a_caption_cut_short_is_refused() -> None:
    packed = pack_text("a red bicycle")
    for length in range(len(packed)):
        with pytest.raises(StreamError, match="caption"):
            unpack_text(packed[:length])
