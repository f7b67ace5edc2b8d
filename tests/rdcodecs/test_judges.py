"""LPIPS (AlexNet) and DISTS judge the codecs: no training and no choice of a setting may see them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JUDGES = {"rdbench.metrics.lpips", "rdbench.metrics.lpips_net", "rdbench.metrics.dists", "rdbench.metrics.dists_net"}
PACKAGES = {"lpips", "DISTS_pytorch"}
SOURCES = sorted((ROOT / "codecs").rglob("*.py"))


def _imports(source):
    """Every module that a source names in an import, and every string in it: `importlib`, and metrics by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _judges_named_in(source):
    forbidden = JUDGES | PACKAGES | {"lpips_alex", "dists"}
    return sorted(forbidden & {name.strip() for name in _imports(source)})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_codec_and_no_training_sees_the_judges(path):
    assert _judges_named_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import lpips",
        "from rdbench.metrics.dists_net import DISTSNet",
        "from rdbench.metrics import lpips",
        "def loss():\n    import DISTS_pytorch",
        "importlib.import_module('rdbench.metrics.lpips_net')",
        "loss = metric('lpips_alex')",
    ],
)
def test_the_search_finds_them(source):
    assert _judges_named_in(source)


def test_there_is_something_to_search():
    assert len(SOURCES) > 50
