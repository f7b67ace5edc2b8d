"""Exchange with other suites, and curves from the literature."""

from rdbench.interop.compressai import InteropError, MeanPoints, export_compressai, import_compressai
from rdbench.interop.published import load_published, published_curves, published_names

__all__ = [
    "InteropError",
    "MeanPoints",
    "export_compressai",
    "import_compressai",
    "load_published",
    "published_curves",
    "published_names",
]
