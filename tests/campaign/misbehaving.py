"""Codecs that misbehave, each beside an honest one: they cost their own cells and nothing else."""

import contextlib
import csv
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest import mock

import psutil
from rich.console import Console
from tests.campaign.figures import Figures

import misbehaving_codecs
from misbehaving_codecs import EXPECTED, FILES, Honest, source_of
from rdbench import describing
from rdbench.experiment import validate_experiment
from rdbench.run import run as run_experiment
from small_images import write_images

BATCH = 8
"""Codecs that share a run, so that one may also harm another."""
_MARK = "RDBENCH_CAMPAIGN_MARK"
_LIMIT_S = 6.0
_START_S = 15.0
_MEMORY = 400 * 2**20
_COMPARED = ("image", "rate", "bytes", "bpp", "psnr", "error")


@dataclass(frozen=True)
class Subject:
    """A codec, what is expected of a run with it, and what the lines on it say."""

    name: str
    attribute: str
    outcome: str
    says: str


def subjects() -> list[Subject]:
    """Return every codec that misbehaves."""
    classes = [Subject(_name(cls), cls.__name__, *expected) for cls, expected in EXPECTED.items()]
    return classes + [Subject(name, "Codec", *expected) for name, (_, *expected) in FILES.items()]


def run(count: int, seed: int) -> Figures:
    """Try codecs out, all of them again in another order where `count` is larger than their number."""
    order = random.Random(seed)
    chosen: list[Subject] = []
    while len(chosen) < count:
        everyone = subjects()
        order.shuffle(everyone)
        chosen += everyone[: count - len(chosen)]
    failures: list[str] = []
    bad = 0
    for start in range(0, count, BATCH):
        found = try_out(chosen[start : start + BATCH])
        bad += len(found)
        failures += [f"{name}: {fault}" for name, fault in found.items()]
    return Figures("misbehaving codecs", count, count - bad, failures)


def try_out(chosen: Sequence[Subject]) -> dict[str, str]:
    """Run codecs beside an honest one; return for each that did not do as expected what it was.

    What is wrong with the run as a whole is every codec's fault.
    """
    with _alone() as folder:
        write_images(folder / "images", 2, side=24)
        entries = [
            {"codec": f"{_place(folder, subject)}:{subject.attribute}", "label": subject.name} for subject in chosen
        ]
        honest = {"codec": f"{_honest(folder)}:Honest", "label": "honest"}
        before = _honest_rows(folder / "before", folder, [honest])
        console = Console(file=StringIO(), width=1000)
        result = _run(folder / "out", folder, [*entries, honest], console)
        printed = console.file.getvalue()  # type: ignore[attr-defined]
        rows = _rows(folder / "out")
        after = [row for row in rows if row["label"] == "honest"]
        common = [] if _figures(after) == _figures(before) else ["the honest codec's rows are not those it has alone"]
        common += _left_behind(folder)
        faults = {}
        for subject in chosen:
            own = [row for row in rows if row["label"] == subject.name]
            lines = [line for line in result.missing if line.startswith(f"{subject.name} is left out: ")]
            fault = _judge(subject, own, lines, before, printed)
            if fault or common:
                faults[subject.name] = "; ".join([*([fault] if fault else []), *common])
    return faults


def _judge(
    subject: Subject, rows: list[dict[str, str]], lines: list[str], honest: list[dict[str, str]], printed: str
) -> str:
    errors = [row["error"] for row in rows if row["error"]]
    for text in errors + lines:
        if len(text) > 600 or not text.isprintable():
            return f"not a printable line of bounded length: {text[:100]!r}"
    if subject.outcome == "left out":
        good = len(lines) == 1 and subject.says in lines[0] and not rows
    elif subject.outcome == "errors":
        good = len(errors) == len(rows) > 0 and all(subject.says in error for error in errors)
    elif subject.outcome == "some errors":
        good = any(subject.says in error for error in errors)
    elif subject.outcome == "named":
        said = f"{subject.name} decodes the same bytes to different images" in printed
        good = any(subject.says in error for error in errors) and said
    else:
        good = _figures(rows) == _figures(honest)
    return "" if good else f"expected {subject.outcome} ({subject.says}), found {len(rows)} rows, {errors[:2]}, {lines}"


def _run(out: Path, folder: Path, entries: list[dict[str, str]], console: Console):  # type: ignore[no-untyped-def]
    data = {
        "name": "campaign",
        "dataset": f"folder:{folder / 'images'}",
        "metrics": ["psnr"],
        "timeout": _LIMIT_S,
        "codecs": entries,
    }
    with mock.patch.object(describing, "LEAST_START_S", _START_S):
        return run_experiment(validate_experiment(data), out, workers=2, memory=_MEMORY, console=console)


def _honest_rows(out: Path, folder: Path, entries: list[dict[str, str]]) -> list[dict[str, str]]:
    _run(out, folder, entries, Console(file=StringIO()))
    return _rows(out)


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "records.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _figures(rows: list[dict[str, str]]) -> list[tuple[str, ...]]:
    return sorted(tuple(row[name] for name in _COMPARED) for row in rows)


def _name(cls: type[Honest]) -> str:
    name = cls.__dict__.get("name")
    return name if isinstance(name, str) else cls.__name__


def _place(folder: Path, subject: Subject) -> Path:
    """Return a file with a codec, in a folder of its own: it may change or delete it."""
    own = folder / "codecs" / subject.name
    own.mkdir(parents=True)
    path = own / "codec.py"
    if subject.name in FILES:
        shutil.copy(str(misbehaving_codecs.__file__), own / "misbehaving_honest.py")
        path.write_text(source_of(subject.name))
        if subject.name == "shadows-a-module":
            for module in ("tempfile", "json", "codec", "host"):
                (own / f"{module}.py").write_text("raise RuntimeError('not the module that was meant')\n")
    else:
        shutil.copy(str(misbehaving_codecs.__file__), path)
    return path


def _honest(folder: Path) -> Path:
    path = folder / "honest.py"
    shutil.copy(str(misbehaving_codecs.__file__), path)
    return path


@contextlib.contextmanager
def _alone() -> Iterator[Path]:
    """Return a folder that holds the home and the temporary files of what is started meanwhile."""
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        temporary, home = folder / "tmp", folder / "home"
        for place in (temporary, home):
            place.mkdir()
        changed = {"TMPDIR": str(temporary), "HOME": str(home), _MARK: name}
        with mock.patch.dict(os.environ, changed), mock.patch.object(tempfile, "tempdir", str(temporary)):
            yield folder


def _left_behind(folder: Path) -> list[str]:
    """Return lines on processes, temporary files and shared memory that are still there."""
    found = [f"'{path.relative_to(folder)}' is left" for path in (folder / "tmp").iterdir()]
    shared = Path("/dev/shm/rdbench-misbehaving")  # noqa: S108 - where Linux has it
    if shared.exists():
        found.append("shared memory is left")
        shared.unlink()
    deadline = time.monotonic() + 5
    while (processes := _marked(str(folder))) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found.append(f"process {' '.join(process.cmdline())[:100]} is left")
            process.kill()
    return found


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            marked = process.pid != os.getpid() and process.environ().get(_MARK) == mark
            if marked and "resource_tracker" not in " ".join(process.cmdline()):  # this process's own
                found.append(process)
    return found
