"""Find codecs by name: built in, from another package's entry points, or from a Python file."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from rdcodecs.codec import Codec, CodecError, MissingDependencyError, OptionError
from rdcodecs.identity import loaded_beside

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


class CodecImportError(UnknownCodecError):
    """A codec's file is there and is Python, and fails as it is imported."""


def available_codecs() -> dict[str, str]:
    """Return every codec that can be named, as name → "module:Class". Nothing is imported."""
    from importlib.metadata import entry_points  # it takes a fifth of a codec's start, and files need none

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
        raise UnknownCodecError(f"'{name}' is a file: name the class in it, '{name}:Class'")
    if path.endswith(".py"):
        return _checked(_from_file(Path(path), attribute), name)
    known = _BUILT_IN if name in _BUILT_IN else available_codecs()
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
    for option, default in known.items():
        if default is inspect.Parameter.empty and option not in options:
            raise OptionError(f"codec '{name}' needs a value for its option '{option}', which has no default")
    return cls(**options)


def option_defaults(cls: type[Codec]) -> dict[str, Any]:
    """Return a codec's options with their defaults, in the order of its `__init__`."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    wanted = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in wanted}


def is_shipped(name: str) -> bool:
    """Whether a codec's name is one of those that come with this package."""
    return name in _BUILT_IN


def fresh_class(name: str, cls: type[Codec]) -> type[Codec]:
    """Return a codec's class once more, from modules that are run anew: the two share no global of them.

    Run anew are the module of the class and, for a codec of one's own, every module beside it.

    Args:
        name: the codec's name, as `codec_class` takes it.
        cls: its class.
    """
    names = {cls.__module__}
    file = getattr(sys.modules[cls.__module__], "__file__", None)
    if not is_shipped(name) and file is not None:
        path = Path(file).resolve()
        names |= {_module_name(path)} | {module for module, _ in loaded_beside(path.parent)}
    before = {each: sys.modules.pop(each) for each in names if each in sys.modules}
    try:
        return codec_class(name)
    finally:
        sys.modules.update(before)


class _SourceLoader(SourceFileLoader):
    """Runs what the file says now: bytecode that lies beside it may be older, to the second."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _from_file(path: Path, attribute: str) -> Any:
    if not path.is_file():
        raise UnknownCodecError(f"no codec file '{path}'")
    given, path = path, path.resolve()
    module_name = _module_name(path)
    module = sys.modules.get(module_name)
    if module is None:
        spec = file_spec(path)
        if spec is None or spec.loader is None:
            raise UnknownCodecError(f"'{given}' is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        if sys.path[:1] != [str(path.parent)]:
            sys.path.insert(0, str(path.parent))  # as Python does for a script: modules beside it can be imported
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[module_name]
            if not isinstance(error, Exception):
                raise
            kind = UnknownCodecError if isinstance(error, SyntaxError) else CodecImportError
            relative = isinstance(error, ImportError) and "relative import" in str(error)
            hint = " (write `from module import ...` for a module beside the file)" if relative else ""
            raise kind(f"'{given}' cannot be imported: {type(error).__name__}: {error}{hint}") from error
    return getattr(module, attribute, None)


def file_spec(path: Path) -> ModuleSpec | None:
    """Return how a codec's file, an absolute path, is imported."""
    name = _module_name(path)
    return importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))


def _module_name(path: Path) -> str:
    # The full path names the module, so that two files called codec.py do not shadow each other.
    # It is the same in every process: streams may hold pickles, which name modules.
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    return f"rdbench_codec_file_{digest[:16]}_{path.stem}"


def _checked(cls: Any, name: str) -> type[Codec]:
    if not (isinstance(cls, type) and issubclass(cls, Codec)):
        raise UnknownCodecError(f"'{name}' does not name a subclass of rdcodecs.Codec")
    return cls
