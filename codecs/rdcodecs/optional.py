"""The packages that only the diffusion models need, imported with one line for a user who lacks them."""

import importlib
import importlib.util
from types import ModuleType

from rdcodecs.codec import MissingDependencyError
from rdcodecs.torchvision_compat import ensure_torchvision

_INSTALL = 'pip install "rdbench[diffusion]"'


def diffusers() -> ModuleType:
    """Import and return `diffusers`.

    Raises:
        MissingDependencyError: it is not installed, or does not load.
    """
    # diffusers imports transformers where that is installed, and transformers imports torchvision.
    if all(importlib.util.find_spec(name) for name in ("transformers", "torchvision")):
        ensure_torchvision()
    module = require("diffusers")
    # Hints on optional accelerators and bars for half a second are not a user's concern; what fails is raised.
    module.utils.logging.set_verbosity_error()
    module.utils.logging.disable_progress_bar()
    return module


def require(name: str) -> ModuleType:
    """Import and return a package.

    Raises:
        MissingDependencyError: it is not installed, or does not load.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingDependencyError(f"diffusion models need '{name}' ({reason}): {_INSTALL}") from error
