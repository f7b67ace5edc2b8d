"""The trained weights of shift-tolerant LPIPS, which the `stlpips-pytorch` package carries."""

from pathlib import Path

from rdbench.metrics.installed import packaged_file
from rdbench.metrics.weights import verify

PACKAGE = "stlpips-pytorch"

WEIGHTS_SHA256 = {"alex": "b356b382", "vgg": "44597da6"}
"""First digits of the SHA-256 of each backbone's weights; other weights are refused."""


def weights_file(backbone: str) -> Path:
    """Return the file with a backbone's weights and heads. The package's own code is not imported.

    Args:
        backbone: "alex" or "vgg".

    Raises:
        MetricUnavailableError: the package, or the file in it, is missing or damaged.
    """
    path = packaged_file(PACKAGE, f"stlpips_pytorch/weights/vST0.0/{backbone}_shift_tolerant.pth")
    verify(path, WEIGHTS_SHA256[backbone])
    return path
