"""Where the weights are that come with the project."""

from pathlib import Path

from rdcodecs.codec import MissingDependencyError

TINY = "tiny"
"""Name of the models that the project ships and measures."""
TINY_MSE = "tiny-mse"
"""The hyperprior alone, trained for squared error and nothing else."""
SHIPPED = (TINY, TINY_MSE)


def shipped_or_folder(name_or_path: str | Path) -> Path:
    """Return the folder of weights: the one that ships for `tiny` and `tiny-mse`, else the folder named.

    Raises:
        MissingDependencyError: it is not there.
    """
    name = str(name_or_path)
    if name not in SHIPPED:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise MissingDependencyError(f"there is no folder of weights '{name}': give '{TINY}' or a folder")
        return folder
    package = Path(__file__).resolve().parent
    # Inside the package where it was installed as a wheel, beside it in a checkout.
    for folder in (package / "weights" / name, package.parent / "weights" / name):
        if folder.is_dir():
            return folder
    raise MissingDependencyError(
        f"the '{name}' weights are not installed: take codecs/weights/{name} from the project's repository, "
        "or train your own with 'rdbench train'"
    )
