"""Captions as bytes: raw deflate that begins with the words captions are made of.

The reference sends zlib's format at level 9: six bytes of header and checksum, of which the stream's own header has
no need, and every word spelt out the first time it comes. A dictionary that both sides know (RFC 1951 and zlib's
`deflateSetDictionary`) does away with both.
"""

import zlib
from typing import Final

from rdcodecs.codec import EncodeError, StreamError

LONGEST: Final = 2000
"""Bytes of UTF-8 that a caption may have."""

# Generic words, by subject; no caption of an image that is measured here was looked at. What is near the end costs
# least to point to: the commonest turns of phrase come last.
_WORDS: Final = (
    "architecture ancient robot dragon castle knight warrior princess anime manga cyberpunk steampunk futuristic "
    "sci-fi spaceship galaxy planet post-apocalyptic dystopian fantasy magical mystical surreal abstract "
    "minimalist photorealistic hyperrealistic realistic ultra detailed, highly detailed, intricate details, "
    "elegant, sharp focus, smooth, illustration, concept art, digital painting, digital art, oil painting, "
    "watercolor, pencil sketch, ink drawing, comic book style, pixel art, matte painting, 3d render, octane "
    "render, unreal engine, cinematic lighting, volumetric lighting, dramatic lighting, soft light, studio "
    "lighting, golden hour, bokeh, depth of field, wide angle, close up, portrait of a, full body, symmetrical, "
    "beautiful, gorgeous, masterpiece, trending on artstation, deviantart, by greg rutkowski, in the style of, "
    "photography, photograph of, award winning, 35mm, 8k, 4k, hd lighthouse bridge tower church clock windmill "
    "temple palace village skyline skyscraper airplane helicopter bicycle motorcycle train truck tractor sailboat "
    "harbor canyon desert waterfall volcano glacier rainbow sunrise colorful purple orange pink yellow brown gray "
    "golden silver wooden metal stone brick glass plastic leather elephant giraffe zebra lion tiger bear wolf fox "
    "rabbit sheep cow eagle owl butterfly fish painting statue sculpture picture group of people children girl "
    "boy baby player soldier couple dressed in costume helmet jacket shirt suit dress hair eyes face hands smile "
    "holding wearing playing riding walking running flying eating sleeping reading looking at the camera "
    "surrounded by covered in filled with made of parked building city street night lights road cars bus boats "
    "ship ocean waves beach sand river forest lake island rocks trees leaves flowers garden grass snow winter "
    "autumn summer spring sky clouds sunset moon stars rain fog fire smoke light dark shadow blue green red white "
    "black old young large small big tall long two three several many different kitchen bedroom living room table "
    "chair window door wall roof house barn fence food cake pizza fruit bowl plate cup bottle water dog cat birds "
    "horses man woman person standing sitting next to each other behind them near the top of a on the side of a "
    "in front of a with a view of the with the in the background and a man in a woman in a photo of a "
)
_DICTIONARY: Final = _WORDS.encode()


def pack_text(text: str) -> bytes:
    """Return a caption's bytes, which themselves say where they end.

    Raises:
        EncodeError: it is too long.
    """
    data = text.encode()
    if len(data) > LONGEST:
        raise EncodeError(f"the caption has {len(data)} bytes: at most {LONGEST} can be sent")
    coder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    return coder.compress(data) + coder.flush()


def unpack_text(data: bytes) -> tuple[str, bytes]:
    """Return the caption that `data` begins with, and what comes after it.

    Raises:
        StreamError: it does not begin with a caption.
    """
    decoder = zlib.decompressobj(-zlib.MAX_WBITS, _DICTIONARY)
    try:
        # One more than allowed, so that a longer one is noticed and none fills the memory.
        text = decoder.decompress(data, LONGEST + 1)
        if len(text) > LONGEST or not decoder.eof:
            raise StreamError("the stream is damaged: its caption does not end")
        return text.decode(), decoder.unused_data
    except (zlib.error, UnicodeDecodeError) as error:
        raise StreamError(f"the stream is damaged: its caption cannot be read ({error})") from error


def reference_length(text: str) -> int:
    """Return how many bytes the reference's coding takes, for comparison: zlib's format at level 9."""
    return len(zlib.compress(text.encode(), 9))
