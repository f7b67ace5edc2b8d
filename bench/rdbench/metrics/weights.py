"""Trained weights as files: find them, fetch them once, and never take a file for what it is not."""

import functools
import hashlib
import http.client
import os
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

from rdbench.metrics.base import MetricUnavailableError

HUB_URL = "https://download.pytorch.org/models/"
"""Where torchvision publishes its weights. A file's name ends in the first digits of its SHA-256."""

_PROBE_TIMEOUT = 2.0


def verify(path: Path, sha256: str) -> None:
    """Check a file against the first hex digits of its SHA-256.

    Raises:
        MetricUnavailableError: the file is damaged, is another one, or cannot be read.
    """
    try:
        state = path.stat()
        found = _file_hash(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise MetricUnavailableError(f"{path} cannot be read: {error.strerror}") from error
    if not found.startswith(sha256):
        raise MetricUnavailableError(
            f"{path} is damaged or not the file of that name: its SHA-256 starts with "
            f"{found[: len(sha256)]}, not {sha256}; delete it and get it again"
        )


@functools.cache
def _file_hash(path: Path, size: int, modified: int) -> str:
    """Return the hex SHA-256 of a file; of one that has not changed since, without reading it again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_hash(name: str) -> str:
    """Return the SHA-256 digits in a torch hub file's name, e.g. "397923af" for ``vgg16-397923af.pth``."""
    match = re.search(r"-([0-9a-f]{8,})\.\w+$", name)
    if match is None:
        raise ValueError(f"'{name}' is not named as torch hub files are, NAME-SHA256.pth")
    return match[1]


def checkpoints_folder() -> Path:
    """Return the folder in which the torch hub keeps weights: ``$TORCH_HOME/hub/checkpoints``.

    The rule is that of `torch.hub.get_dir`, applied without importing torch.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def hub_file(name: str) -> Path:
    """Return a torch hub file's place on this machine; where it is missing, download it first.

    Without a network this fails within seconds.

    Args:
        name: e.g. ``alexnet-owt-7be5be79.pth``.

    Raises:
        MetricUnavailableError: it is damaged, or neither here nor to be had; the message says what to do.
    """
    path = checkpoints_folder() / name
    if not path.is_file():
        reason = _why_unreachable(HUB_URL) or _download(HUB_URL + name, path)
        if reason:
            raise MetricUnavailableError(
                f"the weights {name} are not in {path.parent} and cannot be downloaded ({reason}): "
                f"get {HUB_URL}{name} and put it into that folder"
            )
    verify(path, published_hash(name))
    return path


@functools.cache
def _why_unreachable(url: str) -> str | None:
    """Return why a server does not answer, None where it does. Asked once a process."""
    answer: list[str | None] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the address is our own
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_TIMEOUT):  # noqa: S310
                answer.append(None)
        except urllib.error.HTTPError:
            answer.append(None)  # it refuses a bare HEAD, so it is there
        except (OSError, http.client.HTTPException) as error:
            answer.append(_reason(error))

    # The timeout above does not cover the name's look-up, which can hang for longer than a user waits.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(1.5 * _PROBE_TIMEOUT)
    return answer[0] if answer else "no answer"


def _download(url: str, path: Path) -> str | None:
    """Fetch a file, checked against the hash in its name; return why it did not work, None where it did."""
    from torch.hub import download_url_to_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(path), hash_prefix=published_hash(path.name))
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # urllib wraps what happened into an error of its own
    return str(getattr(cause, "strerror", None) or cause)
