import numpy as np
import pytest


# Values of pyiqa 0.1.16 on these very pictures; that package is too large to install for a test.
@pytest.mark.parametrize(("crop", "theirs"), [((201, 256), 0.2144686), ((128, 96), 0.2803051), ((64, 33), 0.3470541)])
def test_equals_pyiqa(crop, theirs, make, drawn):
    reference, image = (each[: crop[0], : crop[1]] for each in drawn)
    assert make("nlpd")(reference, image) == pytest.approx(theirs, abs=2e-6)


def test_lost_fine_detail_counts(make, photo):
    """A blur by a pixel costs more than a change of brightness by as much."""
    blurred = ((photo.astype(float) + np.roll(photo, 1, axis=1)) / 2).round().astype(np.uint8)
    error = np.sqrt(np.mean((photo.astype(float) - blurred) ** 2))
    brighter = np.clip(photo + error, 0, 255).round().astype(np.uint8)
    assert make("nlpd")(photo, blurred) > 1.5 * make("nlpd")(photo, brighter)
