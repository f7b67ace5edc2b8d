"""The packages and their modules import each other in one direction only. Read from the source, nothing is imported."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    name: ROOT / root / name
    for name, root in {"rdbench": "bench", "rdpaper": "bench", "rdcodecs": "codecs", "rdtrain": "codecs"}.items()
}

NEVER = {
    "rdcodecs": ("rdbench", "rdtrain", "rdpaper"),
    "rdbench": ("rdtrain", "rdpaper"),
    "rdtrain": ("rdpaper",),
    "rdpaper": ("rdtrain",),
}
"""Package → those that it must not import."""

METRICS = ("rdbench.metrics",)
COMMAND_LINE = (
    *METRICS, "rdbench.commands", "rdbench.datasets", "rdbench.errors", "rdbench.progress", "rdbench.tables"
)  # fmt: skip
"""What the commands of rdtrain take from the harness besides: errors, the way a command is declared, how times and
tables are written, and folders of images, which a training reads exactly as a measurement does."""


@cache
def modules(package: str) -> dict[str, ast.Module]:
    """Return the parsed modules of a package by their dotted names."""
    home = PACKAGES[package]
    parsed = {}
    for path in sorted(home.rglob("*.py")):
        parts = path.relative_to(home.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        parsed[name] = ast.parse(path.read_text(encoding="utf-8"))
    return parsed


def named(tree: ast.Module) -> Iterator[str]:
    """Give what a module imports anywhere in it, as dotted names, which may end in a name that is no module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@cache
def imports(package: str) -> dict[str, frozenset[str]]:
    """Return, for each module of a package, the other modules of it that it imports anywhere."""
    known = modules(package)
    found = {}
    for name, tree in known.items():
        targets = {target if target in known else target.rpartition(".")[0] for target in named(tree)}
        found[name] = frozenset((targets & known.keys()) - {name})
    return found


def circle(arrows: dict[str, frozenset[str]]) -> list[str]:
    """Return the modules of a circle in the order in which they import each other, or nothing."""
    done: set[str] = set()

    def follow(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name not in done:
            for other in sorted(arrows[name]):
                found = follow(other, [*way, name])
                if found:
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := follow(name, []))), [])


def test_a_circle_is_found() -> None:
    arrows = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}
    assert circle({name: frozenset(others) for name, others in arrows.items()}) == ["b", "d", "b"]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package: str) -> None:
    assert len(modules(package)) > 5
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules(package).items()
        for target in named(tree)
        if within(target, NEVER[package])
    ]
    assert not wrong


def test_training_takes_metrics_of_the_harness_and_its_commands_what_commands_need() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules("rdtrain").items()
        for target in named(tree)
        if within(target, ("rdbench",))
        and not within(target, COMMAND_LINE if within(name, ("rdtrain.commands",)) else METRICS)
    ]
    assert not wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert circle(imports(package)) == []


@pytest.mark.parametrize("package", ["rdbench", "rdcodecs", "rdtrain", "rdpaper"])
def test_only_the_command_line_imports_commands(package: str) -> None:
    parts = [name for name in modules(package) if not within(name, (f"{package}.commands", "rdpaper.command"))]
    wrong = [
        f"{name} imports {target}"
        for name in parts
        if name not in {"rdbench.cli", "rdbench.__main__"}
        for target in named(modules(package)[name])
        if within(target, ("rdbench.commands", "rdtrain.commands", "rdpaper.command"))
    ]
    assert not wrong
