"""Import torchvision where its compiled part does not fit the installed torch.

Package registries carry torchvision wheels built for CUDA. Beside a CPU build of torch their library does not
load, and `import torchvision` then fails for want of two operators (non-maximum suppression for detectors)
which models for images have no use for. Declaring the two without an implementation lets the import pass.
"""

import functools
import importlib
import sys

_MISSING = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache  # also keeps the library alive: its declarations last as long as it does
def ensure_torchvision() -> object:
    """Make `import torchvision` work, and import it. Where it works by itself nothing is changed.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: it fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
    else:
        return None
    import torch

    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    # The failed attempt left some of the package's modules behind, half initialised.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("torchvision")
    return library
