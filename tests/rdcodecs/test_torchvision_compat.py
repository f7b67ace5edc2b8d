import importlib
import subprocess
import sys

import pytest

from rdcodecs.torchvision_compat import ensure_torchvision


def test_models_can_be_imported_and_run():
    """In a fresh process, whichever build of torchvision there is; where it works, nothing changes."""
    script = """
try:
    import torchvision
    works = True
except RuntimeError:
    works = False
from rdcodecs.torchvision_compat import ensure_torchvision
assert (ensure_torchvision() is None) == works
import torch, torchvision.models
print(tuple(torchvision.models.squeezenet1_1(weights=None).features(torch.zeros(1, 3, 64, 64)).shape))
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, "(1, 512, 3, 3)"), result.stderr


def test_other_failures_are_not_hidden(monkeypatch):
    def fail(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        ensure_torchvision.__wrapped__()
