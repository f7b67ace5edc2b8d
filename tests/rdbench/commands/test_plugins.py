"""Commands of other packages, from a distribution's entry points to the help."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

GREET = """
GROUP = "courtesy"


def add_parser(commands):
    parser = commands.add_parser("greet", help="say hello to NAME")
    parser.add_argument("name")
    parser.set_defaults(execute=lambda options: print(f"hello {options.name}") or 0)
"""
HALF = """
def add_parser(commands):
    commands.add_parser("half", help="half a command")
    raise RuntimeError("first line\\nsecond line")
"""
SILENT = """
def add_parser(commands):
    pass
"""
TAKEN = """
def add_parser(commands):
    commands.add_parser("run", help="of another package")
"""
LEAVES = "raise SystemExit(7)\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an installed package, whose commands are good and bad."""
    modules = {"greet": GREET, "half": HALF, "silent": SILENT, "taken": TAKEN, "leaves": LEAVES}
    for name, text in modules.items():
        (tmp_path / f"some_{name}.py").write_text(text)
    info = tmp_path / "some_commands-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-commands\nVersion: 1.0\n")
    points = {
        **{name: f"some_{name}" for name in modules},
        "missing": "no_such_module_anywhere",
        "compare": "some_greet",
    }
    lines = [f"{name} = {module}\n" for name, module in points.items()]
    (info / "entry_points.txt").write_text("[rdbench.commands]\n" + "".join(lines))
    return tmp_path


def rdbench(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rdbench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join([str(site), *sys.path]), "COLUMNS": "120", "PATH": "/usr/bin:/bin"},
    )


def test_a_command_of_another_package_works_and_is_listed_apart(site: Path) -> None:
    done = rdbench(site, "greet", "world")
    assert (done.returncode, done.stdout) == (0, "hello world\n")
    listed = rdbench(site, "--help").stdout
    ours, theirs = listed.split("\ncourtesy:\n")
    assert "measure and compare:\n  run " in ours
    assert theirs.splitlines()[0].split() == ["greet", "say", "hello", "to", "NAME"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("missing", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("half", "RuntimeError: first line second line"),
        ("silent", "it declares no command 'silent'"),
        ("taken", "it declares no command 'taken'|conflicting subparser"),
        ("leaves", "SystemExit: 7"),
    ],
)
def test_a_command_that_cannot_be_loaded_is_one_line_and_the_rest_works(site: Path, command: str, reason: str) -> None:
    for arguments in ((command,), (command, "--some", "option", "-x")):
        done = rdbench(site, *arguments)
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if "left out" not in line]
        assert line.startswith(f"rdbench: the command '{command}' of the package 'some-commands' cannot be loaded (")
        assert re.search(reason, line)
    listed = rdbench(site, "--help")
    assert listed.returncode == 0
    assert "measure an experiment" in listed.stdout
    assert f"  {command}" in listed.stdout
    assert "of another package" not in listed.stdout


def test_a_name_that_is_taken_stays_with_its_command(site: Path) -> None:
    done = rdbench(site, "compare", "--help")
    assert "--worst N" in done.stdout
    assert done.stderr == "rdbench: the command 'compare' of the package 'some-commands' is left out: there is one\n"


def test_our_own_commands_are_entry_points_and_light() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["rdbench.commands"]
    assert points.keys() == {"diagnose", "paper", "train"}
    code = (
        "import argparse, importlib, sys\n"
        "commands = argparse.ArgumentParser().add_subparsers()\n"
        f"for module in {list(points.values())}: importlib.import_module(module).add_parser(commands)\n"
        "print(*commands.choices); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    names, loaded = (set(line.split()) for line in done.stdout.splitlines())
    assert names == set(points)
    assert not {"torch", "matplotlib", "pandas", "scipy", "numpy"} & loaded
