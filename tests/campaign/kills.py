"""Runs that are killed at any moment and resumed, and runs that share a folder: nothing is lost, nothing is doubled."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import yaml
from tests.campaign.figures import Figures

from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.ledger import Ledger
from rdbench.record_writer import read_records
from rdbench.records import load_records, summary
from small_images import write_images

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_IMAGES, _RATES = 6, (64, 32, 16, 8)
_CELLS = 2 * _IMAGES * len(_RATES)
_KILLS_A_FOLDER = 4
_DEADLINE_S = 180.0
_CODEC = """
import time
from pathlib import Path
from faulty_codecs import Quantizer
class Slow(Quantizer):
    def encode(self, image, rate):
        with open(Path(__file__).with_suffix(".log"), "a") as file:
            file.write("x")
        time.sleep(0.02)
        return super().encode(image, rate)
"""


@dataclass
class _Place:
    """An experiment, and what an undisturbed run of it writes."""

    root: Path
    expected: dict[tuple[str, str], Cell]
    wall_s: float

    def command(self, out: Path) -> list[str]:
        arguments = ["run", str(self.root / "e.yaml"), "--out", str(out), "--workers", "2"]
        return [sys.executable, "-m", "rdbench", *arguments]

    def encodes(self) -> int:
        log = self.root / "slow.log"
        return len(log.read_text()) if log.exists() else 0


def run(count: int, seed: int) -> list[Figures]:
    """Kill `count` runs, and let some more share a folder, one of them killed.

    Args:
        count: number of kills.
        seed: the same seed kills by the same signals after the same times; what these meet varies.
    """
    random = Random(seed)
    with tempfile.TemporaryDirectory(prefix="rdbench-kills-") as folder:
        place = _prepare(Path(folder))
        return [_killed(place, count, random), _together(place, max(1, count // 10), random)]


def _prepare(root: Path) -> _Place:
    write_images(root / "images", _IMAGES)
    (root / "slow.py").write_text(_CODEC)
    codec = {"codec": f"{root / 'slow.py'}:Slow", "rates": list(_RATES)}
    experiment = {
        "name": "killed",
        "dataset": f"folder:{root / 'images'}",
        "metrics": ["psnr"],
        "anchor": "a",
        "verify": False,  # it encodes once more
        "codecs": [codec | {"label": "a"}, codec | {"label": "b", "options": {"level": 1}}],
    }
    (root / "e.yaml").write_text(yaml.safe_dump(experiment))
    place = _Place(root, {}, 0.0)
    start = time.monotonic()
    subprocess.run(place.command(root / "undisturbed"), check=True, capture_output=True, env=_environment())
    place.wall_s = time.monotonic() - start
    place.expected = _results(root / "undisturbed")
    if len(place.expected) != _CELLS:
        raise RuntimeError(f"the undisturbed run has {len(place.expected)} of {_CELLS} cells")
    return place


def _killed(place: _Place, count: int, random: Random) -> Figures:
    failures: list[str] = []
    held = done = 0
    at_tables = 0
    while done < count:
        out = place.root / f"out{done}"
        kills = min(_KILLS_A_FOLDER, count - done)
        found: list[str] = []
        for _ in range(kills):
            number = random.choice(_SIGNALS)
            tables = random.random() < 0.4
            share = random.random()
            at_tables += tables
            found += [f"{number.name}, {share:.2f}, tables {tables}: {line}" for line in
                      _kill_one(place, out, number, share, tables)]  # fmt: skip
        last = subprocess.run(
            place.command(out), capture_output=True, text=True, timeout=_DEADLINE_S, check=False, env=_environment()
        )
        if last.returncode:
            found.append(f"resumed: status {last.returncode}: {last.stderr[-300:]}")
        else:
            found += _compared(place, out)
        done += kills
        held += kills if not found else 0
        failures += [f"seed folder {out.name}: {line}" for line in found]
    return Figures("killed and resumed", done, held, failures, [f"{at_tables} aimed at the writing of tables"])


def _kill_one(place: _Place, out: Path, number: signal.Signals, share: float, tables: bool) -> list[str]:
    """Start a run, kill it, and return what is wrong with what it left."""
    found = []
    with _started(place, out) as process:
        if tables:
            _wait_for_the_last_cell(process, out)
            time.sleep(share * 0.3 * place.wall_s)
        else:
            time.sleep(share * place.wall_s)
        before = _ledger(out)
        process.send_signal(number)
        if number != signal.SIGKILL and share < 0.3:  # once more, as people do
            with contextlib.suppress(ProcessLookupError):
                time.sleep(0.05)
                process.send_signal(number)
        _, errors = process.communicate(timeout=_DEADLINE_S)
    lost = before.keys() - _ledger(out).keys()
    if lost:
        found.append(f"{len(lost)} rows were lost")
    started = "images: " in errors
    if number != signal.SIGKILL and started and process.returncode not in (0, 130):
        found.append(f"status {process.returncode}: {errors[-300:]}")
    if (out / "records.csv").exists():
        problems = read_records(out / "records.csv", {}).problems
        found += problems
        # A run that was stopped before it began leaves what one before it, killed while it wrote tables, has left.
        if "results: " in errors and process.returncode in (0, 130) and not problems:
            text = summary(load_records(out)).to_csv(index=False, float_format="%.6g")
            if text != (out / "summary.csv").read_text():
                found.append("summary.csv is not that of records.csv")
    return found


def _together(place: _Place, count: int, random: Random) -> Figures:
    """Let two or three runs share a folder, and kill one of three."""
    failures: list[str] = []
    for i in range(count):
        out, before = place.root / f"together{i}", place.encodes()
        with contextlib.ExitStack() as stack:
            runs = [stack.enter_context(_started(place, out)) for _ in range(2 + i % 2)]
            if len(runs) == 3:
                time.sleep(random.random() * place.wall_s)
                runs[0].kill()
            errors = [each.communicate(timeout=_DEADLINE_S)[1] for each in runs]
        found = [
            f"status {each.returncode}: {text[-300:]}"
            for each, text in zip(runs[-2:], errors[-2:], strict=True)
            if each.returncode
        ]
        found += _compared(place, out)
        encodes = place.encodes() - before
        # What a killed run's two workers were at is encoded again.
        if not _CELLS <= encodes <= _CELLS + 2 * (len(runs) - 2):
            found.append(f"{encodes} encodes for {_CELLS} cells")
        failures += [f"{out.name}, {len(runs)} runs: {line}" for line in found[:1]]
    return Figures("several runs in one folder", count, count - len(failures), failures)


def _environment() -> dict[str, str]:
    """Return an environment in which a run finds the codec's base class, as this process does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@contextlib.contextmanager
def _started(place: _Place, out: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        place.command(out),
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
        # What runs in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        with process:
            yield process
    finally:
        process.kill()


def _wait_for_the_last_cell(process: "subprocess.Popen[str]", out: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while process.poll() is None and len(_ledger(out)) < _CELLS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{out} was never measured")
        time.sleep(0.1)


def _ledger(out: Path) -> dict[tuple[str, str], Cell]:
    """Return the good rows of a ledger that another process may be making."""
    path = out / "ledger.sqlite"
    if not path.exists() or not os.path.getsize(path):
        return {}
    try:
        with Ledger(path) as ledger:
            return {cell.identity: cell for cell in ledger.cells() if not cell.error}
    except BenchError:
        return {}


def _results(out: Path) -> dict[tuple[str, str], Cell]:
    """Return the rows of records.csv without what differs from run to run."""
    cells = read_records(out / "records.csv", {}).cells
    return {cell.identity: replace(cell, encode_s=None, decode_s=None, measured="") for cell in cells}


def _compared(place: _Place, out: Path) -> list[str]:
    found = _results(out)
    if found == place.expected:
        return []
    differing = {key for key in found.keys() | place.expected.keys() if found.get(key) != place.expected.get(key)}
    return [f"{len(differing)} rows differ from those of the undisturbed run"]
