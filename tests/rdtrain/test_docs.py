"""What docs/training.md shows is run here."""

import importlib
import re
from pathlib import Path

import pytest

from small_training import smooth_images

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()


def test_a_recipe_is_carried_out_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "training.md", "exec"), {"images": smooth_images(6)})  # noqa: S102 - our own page
    assert (tmp_path / "runs" / "prior" / "model" / "vae" / "config.json").is_file()


def test_the_recipes_are_where_the_guide_says() -> None:
    rows = re.findall(r"^\| (`\w+Recipe`.*?) \| .* \| `(rdtrain[\w.]+)` \|$", GUIDE, re.MULTILINE)
    named = {name for names, _ in rows for name in re.findall(r"\w+Recipe", names)}
    assert len(named) == 6
    for names, module in rows:
        assert all(hasattr(importlib.import_module(module), name) for name in re.findall(r"\w+Recipe", names))
