import subprocess
import sys

import numpy as np
import pytest


@pytest.mark.parametrize("size", [(192, 240), (97, 63), (16, 16)])
def test_equals_the_packages_program_in_c(size, make, photo, jpeg):
    """The package carries a second implementation, in C++ with another cosine transform."""
    from psnr_hvsm import _psnr_hvsm as compiled
    from psnr_hvsm.numpy import bt601ycbcr

    height, width = size
    pair = [each[:height, :width] for each in (photo, jpeg(photo, 20))]
    whole = [bt601ycbcr(each[: height // 8 * 8, : width // 8 * 8])[0] for each in pair]
    _, theirs = compiled.psnr_hvs_hvsm(*whole)
    assert make("psnr_hvs_m")(*pair) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.filterwarnings("error")
def test_flat_pictures(make):
    flat = np.full((32, 32, 3), 100, np.uint8)
    assert make("psnr_hvs_m")(flat, flat.copy()) == 100
    assert 20 < make("psnr_hvs_m")(flat, flat + 10) < 40


def test_invisible_error_is_the_ceiling(make):
    """Blue by one level moves the rounded luma nowhere."""
    image = np.full((32, 32, 3), 100, np.uint8)
    other = image.copy()
    other[:, :, 2] += 1
    assert make("psnr_hvs_m")(image, other) == 100


def test_nothing_is_printed():
    """The package prints advice when it is imported; a run's output is not the place for it."""
    script = "import numpy as n; from rdbench.metrics import make_metric; z = n.zeros((16, 16, 3), n.uint8); "
    script += "make_metric('psnr_hvs_m')(z, z)"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
