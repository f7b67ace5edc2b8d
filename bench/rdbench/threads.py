"""How many threads numerical libraries use: they read it from the environment when they are loaded."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)


def thread_settings(threads: int) -> dict[str, str]:
    """Return the environment variables for so many threads."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))
