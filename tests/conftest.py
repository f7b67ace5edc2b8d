"""Fixtures that many tests share."""

import os

from hypothesis import settings

# Tests run two at a time: libraries that start a thread a core would only be in each other's way.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# The same examples every time: a test that fails for some must fail for everybody.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")
