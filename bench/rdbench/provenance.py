"""provenance.json: what is needed to know, years later, where a figure came from."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from rdbench import __version__
from rdbench.experiment import Experiment
from rdbench.files import atomic_text, read_text
from rdbench.keys import canonical_json, digest

_PACKAGES = (
    "bjontegaard", "cvvdp", "diffusers", "DISTS-pytorch", "flip-evaluator", "imageio-ffmpeg", "lpips", "numpy",
    "pandas", "pillow", "pillow-heif", "pillow-jxl-plugin", "piq", "psnr-hvsm", "pyiqa", "pytorch-msssim", "scipy",
    "ssimulacra2", "stlpips-pytorch", "torch",
)  # fmt: skip


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the content of a provenance.json, or an empty one where there is none or it is damaged."""
    try:
        data = json.loads(read_text(path))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_provenance(
    path: Path,
    experiment: Experiment,
    *,
    codecs: Mapping[str, Mapping[str, Any]],
    metrics: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, Any],
    tables: Mapping[str, Any],
) -> None:
    """Add a run to a results folder's provenance.json.

    Args:
        path: the file; what earlier runs wrote about other codecs and metrics stays.
        experiment: what was asked for.
        codecs: label → fingerprint, of the codecs that ran.
        metrics: metric → fingerprint, of the metrics that were computed.
        run: facts of this run (times, workers, counts).
        tables: what the tables were made from: the dataset and its images with their digests, what they show of each
            label, and the digest of records.csv.
    """
    before = read_provenance(path)
    content = experiment.model_dump(mode="json")
    runs = list(before.get("runs", []))
    if not runs or run["measured"] or run["failed"]:  # a run that found everything known adds nothing to know
        runs.append(dict(run) | describe_machine())
    data = {
        "experiment": content,
        "experiment_sha256": hashlib.sha256(canonical_json(content).encode("utf-8", "surrogatepass")).hexdigest(),
        "codecs": _entries(before, "codecs") | {k: _with_digest(v) for k, v in codecs.items()},
        "metrics": _entries(before, "metrics") | {k: _with_digest(v) for k, v in metrics.items()},
        "runs": runs,
        **tables,
    }
    save_provenance(path, data)


def save_provenance(path: Path, content: Mapping[str, Any]) -> None:
    """Write a provenance.json as it is."""
    with atomic_text(path) as file:
        # Lone surrogates, of names that are not UTF-8, are not for a file: ASCII then, with escapes.
        text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str)
        if any("\ud800" <= character <= "\udfff" for character in text):
            text = json.dumps(content, indent=2, sort_keys=True, default=str)
        file.write(text + "\n")


def experiment_in(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the experiment that a provenance.json's content names, or nothing where it does not say."""
    return _entries(provenance, "experiment")


def planned_cells(provenance: Mapping[str, Any]) -> tuple[int, dict[str, int]]:
    """Return from a provenance.json's content how many images tables cover, and how many cells by label.

    Zero and nothing where it does not say.
    """
    images = len(_entries(_entries(provenance, "dataset"), "images"))
    points = {
        label: len({canonical_json(point) for point in what["points"]})
        for label, what in _entries(provenance, "tables").items()
        if isinstance(what, dict) and isinstance(what.get("points"), list)
    }
    return images, {label: images * count for label, count in points.items()} if images else {}


def metric_digests(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return metric name → fingerprint digest from a provenance.json's content."""
    entries = _entries(provenance, "metrics").items()
    return {name: str(entry["digest"]) for name, entry in entries if isinstance(entry, dict) and "digest" in entry}


def describe_machine() -> dict[str, Any]:
    """Return what runs here: versions, processor, memory, the command; no paths and no host name."""
    return {
        "rdbench": __version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "command": " ".join([Path(sys.argv[0]).name, *map(_shown, sys.argv[1:])]),
    }


def _entries(provenance: Mapping[str, Any], name: str) -> dict[str, Any]:
    entries = provenance.get(name)
    return dict(entries) if isinstance(entries, dict) else {}


def _with_digest(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {"fingerprint": dict(fingerprint), "digest": digest(fingerprint)}


def _shown(argument: str) -> str:
    """Shorten an absolute path to its last part: where things lie on a machine is nobody else's business."""
    head, separator, path = argument.rpartition("=")
    short = Path(path).name if Path(path).is_absolute() else path
    return f"{head}{separator}{short}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _revision() -> str | None:
    """Return the git commit of this checkout, with "+" where it has uncommitted changes; None outside of git."""
    folder = Path(__file__).parent
    # In a session of its own, which Ctrl-C does not reach: the tables are being written.
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, start_new_session=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
