"""Find codecs by name: built in, from another package's entry points, or from a Python file."""

import difflib
import importlib
import importlib.util
import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rdcodecs.codec import Codec, CodecError, MissingDependencyError, OptionError

ENTRY_POINT_GROUP = "rdbench.codecs"

_BUILT_IN = {
    "avif": "rdcodecs.pillow:AVIF",
    "fusion": "rdcodecs.fusion.codec:FusionCodec",
    "heic": "rdcodecs.pillow:HEIC",
    "hyperprior": "rdcodecs.hyperprior.codec:HyperpriorCodec",
    "jpeg": "rdcodecs.pillow:JPEG",
    "jpeg2000": "rdcodecs.pillow:JPEG2000",
    "jxl": "rdcodecs.pillow:JXL",
    "perco": "rdcodecs.perco.codec:PerCoCodec",
    "vtm": "rdcodecs.vvc.vtm:VTM",
    "vvenc": "rdcodecs.vvc.vvenc:VVenC",
    "webp": "rdcodecs.pillow:WebP",
}


class UnknownCodecError(CodecError, LookupError):
    """No codec of that name."""


def available_codecs() -> dict[str, str]:
    """Return every codec that can be named, as name → "module:Class". Nothing is imported."""
    others = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return dict(sorted((others | _BUILT_IN).items()))


def codec_class(name: str) -> type[Codec]:
    """Return the class of a codec.

    Args:
        name: a built-in or installed codec's name, or ``path/to/file.py:Class``.

    Raises:
        UnknownCodecError: no such name, file or class; the message suggests near misses.
        MissingDependencyError: the adapter's module needs a package that is not installed.
    """
    path, _, attribute = name.rpartition(":")
    if name.endswith(".py"):
        raise UnknownCodecError(f"'{name}' is a file: say which class in it, '{name}:Class'")
    if path.endswith(".py"):
        return _checked(_from_file(Path(path), attribute), name)
    known = available_codecs()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "have " + ", ".join(known)
        raise UnknownCodecError(f"unknown codec '{name}': {hint}")
    module_name, _, attribute = known[name].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise MissingDependencyError(f"codec '{name}' cannot be imported: {error}") from error
    return _checked(getattr(module, attribute, None), name)


def load_codec(name: str, **options: Any) -> Codec:
    """Make a codec from its name (see `codec_class`) and its options.

    Raises:
        UnknownCodecError: no such codec.
        OptionError: an option that the codec does not have, or a value it refuses.
    """
    cls = codec_class(name)
    known = option_defaults(cls)
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
            have = ", ".join(known) or "none"
            hint = f"did you mean '{near[0]}'?" if near else f"its options: {have}"
            raise OptionError(f"codec '{name}' has no option '{option}': {hint}")
    return cls(**options)


def option_defaults(cls: type[Codec]) -> dict[str, Any]:
    """Return a codec's options with their defaults, in the order of its `__init__`."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    wanted = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in wanted}


def _from_file(path: Path, attribute: str) -> Any:
    if not path.is_file():
        raise UnknownCodecError(f"no codec file '{path}'")
    # The full path names the module, so that two files called codec.py do not shadow each other.
    module_name = f"rdbench_codec_file_{abs(hash(str(path.resolve()))):x}_{path.stem}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise UnknownCodecError(f"'{path}' is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UnknownCodecError(f"'{path}' cannot be imported: {type(error).__name__}: {error}") from error
    return getattr(module, attribute, None)


def _checked(cls: Any, name: str) -> type[Codec]:
    if not (isinstance(cls, type) and issubclass(cls, Codec)):
        raise UnknownCodecError(f"'{name}' does not name a subclass of rdcodecs.Codec")
    return cls
