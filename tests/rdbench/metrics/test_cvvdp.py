import importlib.metadata
import sys

import numpy as np
import pytest

from rdbench.metrics import metric_class


def test_equals_the_package(make, photo, jpeg):
    """As the package's own example calls it: the decoded image first."""
    import torch

    image = jpeg(photo, 20)
    path = list(sys.path)
    ours = make("cvvdp")(photo, image)
    assert sys.path == path, "the package puts its own folder, with a module named utils, on the path"
    import pycvvdp

    model = pycvvdp.cvvdp(display_name="standard_4k", quiet=True, device=torch.device("cpu"))
    theirs, _ = model.predict(np.array(image), np.array(photo), dim_order="HWC")
    assert ours == pytest.approx(float(theirs), abs=1e-5)
    assert 4 < ours < 10


def test_fingerprint_names_the_display():
    assert metric_class("cvvdp")().fingerprint() == {
        "cvvdp": importlib.metadata.version("cvvdp"),
        "display": "standard_4k",
    }


def test_colour_counts(make, photo):
    """Unlike VMAF, it sees an error in chroma alone."""
    grey = np.repeat((photo @ [0.299, 0.587, 0.114]).round().astype(np.uint8)[:, :, None], 3, axis=2)
    assert make("cvvdp")(photo, grey) < 8
