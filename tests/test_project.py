"""What the project says of itself, in README and metadata, agrees with what it is."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

import rdbench
from rdbench.cli import make_parser
from rdbench.experiment import Experiment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [ROOT / "README.md", *(ROOT / "results").rglob("README.md")]


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_version_and_its_date_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (bibtex,) = blocks(README, "bibtex")
    version, date = re.findall(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    cited = re.findall(r"(?:version|year) += \{(.+?)\}", bibtex)
    assert {PROJECT["project"]["version"], citation["version"], version, cited[0]} == {rdbench.__version__}
    assert str(citation["date-released"]) == date
    assert cited[1] == date[:4]
    assert f"{{{citation['title']}}}" in bibtex


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 110


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_exists(page: Path) -> None:
    text = page.read_text()
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    inline = re.findall(r"`((?:rdbench|make) [^`]+)`", text)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in [*lines, *inline]:
        program, *arguments = shlex.split(line, comments=True)
        if program == "rdbench" and len(arguments) == 1:  # the name of a command, or --version
            with pytest.raises(SystemExit, match=r"^0$"):
                make_parser().parse_args([*arguments, "--help"])
        elif program == "rdbench":
            assert make_parser().parse_args(arguments)
        elif program == "make":
            assert set(arguments) <= targets, line


def test_the_experiment_in_the_readme_is_valid() -> None:
    (experiment,) = blocks(README, "yaml")
    assert Experiment.model_validate(yaml.safe_load(experiment)).anchor == "vtm"


def test_links_of_the_readme_work_on_pypi() -> None:
    text = README
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", text)
    assert len(links) == len(re.findall(r"\]\(", README)) > 10
    for image, target in links:
        assert target.startswith("https://raw.githubusercontent.com/" if image else "https://")


def test_the_workflow_tests_every_python_and_system_that_the_metadata_names() -> None:
    (matrix,) = (
        job["strategy"]["matrix"]
        for job in yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"].values()
        if "make test" in " ".join(step.get("run", "") for step in job["steps"])
    )
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["project"]["classifiers"]))
    assert named
    assert set(named) <= set(matrix["python"])
    assert PROJECT["project"]["requires-python"] == f">={matrix['python'][0]}"
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}
