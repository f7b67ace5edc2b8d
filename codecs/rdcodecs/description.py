"""What must be known of a codec before it is run: its name, rates, options, and what decides its output."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from rdcodecs.codec import Codec, CodecError, RateError, RateSpec
from rdcodecs.identity import source_digest, source_files
from rdcodecs.registry import is_shipped, option_defaults

OWN_SOURCE = "source"
"""Key of a fingerprint under which stands what a codec of one's own is made of."""


class DescriptionError(CodecError):
    """A codec says something of itself that cannot be."""


@dataclass(frozen=True)
class CodecDescription:
    """A codec with its options, known without running it.

    Attributes:
        codec: the name that it is asked for by.
        name: the codec's own name.
        rate: its rate parameter.
        default_rates: rate points for experiments that name none.
        decode_options: options of `decode` with their defaults.
        wants_caption: whether its bitstreams depend on the text beside an image.
        costly: whether one process encodes and decodes.
        fingerprint: what decides its output, as plain JSON; None where nobody asked for it.
        files: the files that a codec of one's own is made of.
    """

    codec: str
    name: str
    rate: RateSpec
    default_rates: tuple[float, ...]
    decode_options: Mapping[str, Any]
    wants_caption: bool
    costly: bool
    fingerprint: Mapping[str, Any] | None = None
    files: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the description as what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CodecDescription":
        """Return the description that `as_json` made `data` of."""
        changed = {
            "rate": RateSpec(**data["rate"]),
            "default_rates": tuple(data["default_rates"]),
            "files": tuple(data["files"]),
        }
        return cls(**{**data, **changed})


def describe(codec_name: str, codec: Codec) -> CodecDescription:
    """Describe a codec without its fingerprint.

    Raises:
        DescriptionError: name, rate, default rates or decode options are not what they must be.
    """
    name, rate, rates, options = codec.name, codec.rate, codec.default_rates, codec.decode_options
    if not isinstance(name, str) or not name.strip():
        raise DescriptionError(f"its name must be a text, not {name!r}")
    if not isinstance(rate, RateSpec):
        raise DescriptionError(f"its rate must be a RateSpec, not {type(rate).__name__}")
    if not isinstance(rates, Iterable) or not all(isinstance(each, Real) and type(each) is not bool for each in rates):
        raise DescriptionError(f"its default rates must be numbers, not {rates!r}")
    try:
        rates = tuple(rate.validate(each) for each in plain(list(rates), "default_rates"))
    except RateError as error:
        raise DescriptionError(f"its default rates do not fit its rate: {error}") from error
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise DescriptionError("its decode options must be names with their defaults")
    return CodecDescription(
        codec=codec_name,
        name=name,
        rate=RateSpec(**{field.name: getattr(rate, field.name) for field in dataclasses.fields(RateSpec)}),
        default_rates=rates,
        decode_options=plain(dict(options), "a decode option's default"),
        wants_caption=bool(codec.wants_caption),
        costly=bool(codec.costly),
    )


def own_source(cls: type[Codec], options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a codec of one's own is made of, for its fingerprint, and the files.

    To be called as soon as the codec is made: what it loads later would count or not as it happens.

    Args:
        cls: its class.
        options: those given to `__init__`.
    """
    module = sys.modules[cls.__module__]
    package = module.__package__ or "" if module.__spec__ is not None and module.__spec__.parent else ""
    main = Path(str(module.__file__)).resolve()
    files = source_files(main, package)
    relevant = {}
    for option, default in option_defaults(cls).items():
        if option in cls.irrelevant_options:
            continue
        if option in options:
            relevant[option] = options[option]
        else:
            try:
                relevant[option] = plain(default, option)
            except DescriptionError:  # no such thing can be given either; the source says what it is
                continue
    made = {"class": cls.__qualname__, "options": relevant, "sha256": source_digest(main, files)}
    return made, tuple(str(path) for path in files)


def full_fingerprint(codec_name: str, codec: Codec, source: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what decides a codec's output: what it says itself and, for one that does not ship, its source.

    Raises:
        DescriptionError: `fingerprint` returned what JSON cannot hold.
    """
    own = codec.fingerprint()
    if is_shipped(codec_name):
        return own
    if not isinstance(own, Mapping):
        raise DescriptionError(f"fingerprint() returned {type(own).__name__}, not names with their values")
    made: dict[str, Any] = plain(dict(own), "fingerprint()")
    # Whatever the author put under this very name counts as well.
    said = {"said": made[OWN_SOURCE]} if OWN_SOURCE in made else {}
    return {**made, OWN_SOURCE: {**source, **said}}


def plain(value: Any, what: str) -> Any:
    """Return `value` as it comes back from JSON.

    Raises:
        DescriptionError: JSON cannot hold it; the message starts with `what`.
    """
    try:
        return json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise DescriptionError(f"{what} holds what cannot be written down: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")
