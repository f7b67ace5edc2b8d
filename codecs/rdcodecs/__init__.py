"""Image codec adapters: one interface over VVC, the Pillow family and generative codecs."""

from rdcodecs.codec import (
    Codec,
    CodecError,
    ContractError,
    EncodeError,
    Image,
    MissingDependencyError,
    OptionError,
    RateError,
    RateSpec,
    StreamError,
)
from rdcodecs.registry import available_codecs, load_codec

__all__ = [
    "Codec",
    "CodecError",
    "ContractError",
    "EncodeError",
    "Image",
    "MissingDependencyError",
    "OptionError",
    "RateError",
    "RateSpec",
    "StreamError",
    "available_codecs",
    "load_codec",
]
