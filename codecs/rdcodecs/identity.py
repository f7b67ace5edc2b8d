"""What a codec of one's own is made of: the source of its module, and of what that imports from beside it.

An author's `fingerprint` may forget an option or a line that was edited; what is found here goes into the key of a
cell besides. Libraries do not count (they are named by their versions), nor does this package.
"""

import ast
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from pathlib import Path

_OWN = {"rdcodecs", "rdbench", "rdtrain", "rdpaper"}
_SUFFIXES = (".py", *EXTENSION_SUFFIXES)


def source_files(module_file: Path, package: str = "") -> list[Path]:
    """Return a module's file and those of the user's own code that it imports, directly or not.

    Imports are read from the source, those inside of functions and `import_module("name")` included; modules that are
    loaded already from beside the file are added, since an import may be computed.

    Args:
        module_file: the codec's file.
        package: the name of the package that the module is part of, where it is: it says what relative imports mean.
    """
    root = module_file.parent
    for _ in package.split(".") if package else ():
        root = root.parent
    top = package.partition(".")[0]
    found = {module_file.resolve(): package}
    waiting = [module_file.resolve()]
    for _, path in loaded_beside(root, package):
        if path not in found:
            found[path] = ""
            waiting.append(path)
    while waiting:
        path = waiting.pop()
        if path.suffix != ".py":
            continue
        for name in _imported(path, found[path]):
            for other, inside in _locate(name, root, top):
                if other not in found:
                    found[other] = inside
                    waiting.append(other)
    return sorted(found)


def source_digest(module_file: Path, files: Iterable[Path]) -> str:
    """Return a SHA-256 of the files' contents and of their names, the folder that they are in left out."""
    parts = []
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        # The codec's own file may be called anything, and a module of another folder may be installed anywhere.
        own = path == module_file.resolve()
        name = "" if own else "/".join(path.parts[-2 if path.stem == "__init__" else -1 :])
        parts.append(f"{name} {content}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def loaded_beside(root: Path, package: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the names and files of loaded modules that are the user's own and lie below `root`."""
    root = root.resolve()
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if package and top != package.partition(".")[0]:
            continue
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or top in _OWN or name == "__main__":
            continue
        path = Path(file).resolve()
        if path.is_relative_to(root) and path.is_file() and (package or _is_users(path)):
            yield name, path


def _imported(path: Path, package: str) -> Iterator[str]:
    """Yield the names that a source file may import, "a.b" for ``from a import b``."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".") if package else []
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.args[0].value.lstrip(".")


def _locate(name: str, root: Path, top: str) -> Iterator[tuple[Path, str]]:
    """Yield the user's own files that importing `name` runs, each with its package. Nothing is imported."""
    parts = name.split(".")
    if not all(parts) or parts[0] in _OWN or parts[0] in sys.stdlib_module_names:
        return
    search: list[str] | None = [str(root), *sys.path]
    for depth in range(len(parts)):
        try:
            spec = PathFinder.find_spec(".".join(parts[: depth + 1]), search)
        except (ImportError, ValueError):
            return
        if spec is None:
            return
        if spec.origin is not None and spec.has_location:
            path = Path(spec.origin).resolve()
            if parts[0] != top and not _is_users(path):
                return
            inside = parts[: depth + 1] if path.stem == "__init__" else parts[:depth]
            if path.name.endswith(_SUFFIXES):
                yield path, ".".join(inside)
        if spec.submodule_search_locations is None:
            return
        search = list(spec.submodule_search_locations)


def _is_users(path: Path) -> bool:
    """Whether a file is the user's own code: not the interpreter's, and not an installed library's."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _library_folders())


@functools.cache
def _library_folders() -> frozenset[Path]:
    return frozenset(
        Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
    )
