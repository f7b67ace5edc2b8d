"""What is installed, told without importing it: a package's version, and files that its wheel carries."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from rdbench.metrics.base import MetricUnavailableError


def package_version(name: str) -> str:
    """Return the version of an installed package.

    Args:
        name: the name on PyPI, e.g. ``flip-evaluator``.

    Raises:
        MetricUnavailableError: it is not installed.
    """
    return _distribution(name).version


def packaged_file(name: str, path: str) -> Path:
    """Return where a file of an installed package lies.

    Args:
        name: the package's name on PyPI.
        path: the file, relative to the folder packages are installed in.

    Raises:
        MetricUnavailableError: the package is not installed, or this version of it has no such file.
    """
    package = _distribution(name)
    file = Path(str(package.locate_file(path)))
    if not file.is_file():
        raise MetricUnavailableError(
            f"the package '{name}' {package.version} has no file {path}: install another version of it, "
            f"as by pip install --force-reinstall 'rdbench[metrics]'"
        )
    return file


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise MetricUnavailableError(
            f"the package '{name}' is not installed: pip install '{name}', "
            "or everything for metrics with pip install 'rdbench[metrics]'"
        ) from None
