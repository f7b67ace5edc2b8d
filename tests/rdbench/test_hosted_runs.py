"""Runs with codecs of one's own: what is known again, what is left out, what is said."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.campaign import misbehaving

from rdbench.describing import describe_codec
from rdbench.experiment import Experiment
from rdbench.measure import Task, measure
from rdbench.metrics.psnr import PSNR
from rdbench.plan import make_plan
from rdbench.run import run
from rdcodecs.pillow import JPEG

MakeExperiment = Callable[..., Experiment]

SHARE = (
    "in-class",
    "in-home",
    "returns-masked",
    "exits-in-decode",
    "raises-surrogates",
    "exits-in-check",
    "leaves-grandchild",
    "unseeded-hash",
    "scribbles-by-address",
    "closes-descriptors",
)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "records.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["in_tables"] == "yes"]


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(
        "from faulty_codecs import Quantizer\nimport beside\n\n\n"
        "class Mine(Quantizer):\n    name = 'mine'\n\n"
        "    def fingerprint(self):\n        return {}\n\n"
        "    def decode(self, data, **options):\n        return super().decode(data, **options) // beside.PART\n"
    )
    (tmp_path / "beside.py").write_text("PART = 1\n")
    return path


@pytest.mark.slow
def test_a_share_of_the_misbehaving_codecs() -> None:
    chosen = [subject for subject in misbehaving.subjects() if subject.name in SHARE]
    assert len(chosen) == len(SHARE)
    assert misbehaving.try_out(chosen) == {}


def test_there_are_at_least_forty_kinds() -> None:
    names = [subject.name for subject in misbehaving.subjects()]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize("edited", ["mine.py", "beside.py"])
def test_an_edit_of_the_source_is_measured_anew(
    experiment: MakeExperiment, tmp_path: Path, mine: Path, thread: Executor, console: Console, edited: str
) -> None:
    wanted = {"codecs": [{"codec": f"{mine}:Mine"}], "verify": False}
    assert run(experiment(**wanted), tmp_path / "out", executor=thread, console=console).measured == 12
    before = [row["psnr"] for row in rows(tmp_path / "out")]
    assert run(experiment(**wanted), tmp_path / "out", executor=thread, console=console).known == 12
    path = mine.with_name(edited)
    path.write_text(path.read_text().replace("PART = 1", "PART = 2").replace("// beside", "// 3 // beside"))
    assert run(experiment(**wanted), tmp_path / "out", executor=thread, console=console).measured == 12
    assert all(new != old for new, old in zip([row["psnr"] for row in rows(tmp_path / "out")], before, strict=True))


def test_two_labels_with_other_options_are_two_curves_whatever_the_author_forgot(
    experiment: MakeExperiment, tmp_path: Path, mine: Path, thread: Executor, console: Console
) -> None:
    entries = [{"codec": f"{mine}:Mine", "label": f"L{level}", "options": {"level": level}} for level in (1, 9)]
    result = run(experiment(codecs=entries, verify=False), tmp_path / "out", executor=thread, console=console)
    assert result.measured == 24
    sizes = {
        label: [int(row["bytes"]) for row in rows(tmp_path / "out") if row["label"] == label] for label in ("L1", "L9")
    }
    assert sizes["L1"] != sizes["L9"]


def test_three_threads_give_the_rows_of_one_process(
    experiment: MakeExperiment, tmp_path: Path, console: Console
) -> None:
    """Also those of a codec whose decoder is not made for threads."""
    path = tmp_path / "hooked.py"
    path.write_text(
        "import time\nfrom faulty_codecs import Quantizer\n\n\nclass Hooked(Quantizer):\n    name = 'hooked'\n\n"
        "    def decode(self, data, **options):\n        self.data = data\n        time.sleep(0.02)\n"
        "        return super().decode(self.data, **options)\n"
    )
    wanted = experiment(codecs=[{"codec": f"{path}:Hooked"}])
    with ThreadPoolExecutor(3) as pool:
        assert run(wanted, tmp_path / "threads", executor=pool, console=console).failed == 0
    assert run(wanted, tmp_path / "lanes", workers=1, console=console).failed == 0
    names = ("image", "rate", "bytes", "psnr", "error")
    threads, lanes = ([[row[name] for name in names] for row in rows(tmp_path / n)] for n in ("threads", "lanes"))
    assert threads == lanes


def test_a_failing_decode_variant_costs_its_own_cells(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    path = tmp_path / "some.py"
    path.write_text(
        "import os\nfrom faulty_codecs import Quantizer\n\n\nclass Some(Quantizer):\n    name = 'some'\n\n"
        "    def decode(self, data, *, steps=1):\n        if steps == 2:\n            os._exit(5)\n"
        "        return super().decode(data, steps=steps)\n"
    )
    entry = {"codec": f"{path}:Some", "rates": [32], "decode": {"steps": [1, 2, 3]}}
    run(experiment(codecs=[entry]), tmp_path / "out", executor=thread, console=console)
    found = {(row["steps"], bool(row["error"])) for row in rows(tmp_path / "out")}
    assert found == {("1", False), ("2", True), ("3", False)}


def test_a_codec_that_is_not_repeatable_is_named(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    path = tmp_path / "drawn.py"
    path.write_text(
        "import numpy as np\nfrom faulty_codecs import Quantizer\n\n\nclass Drawn(Quantizer):\n    name = 'drawn'\n\n"
        "    def decode(self, data, **options):\n        image = super().decode(data, **options)\n"
        "        return image ^ np.random.default_rng().integers(0, 2, image.shape, dtype=np.uint8)\n"
    )
    codecs = [{"codec": f"{path}:Drawn"}]
    result = run(experiment(codecs=codecs), tmp_path / "out", executor=thread, console=console)
    (error,) = [row["error"] for row in rows(tmp_path / "out") if row["error"]]
    said = r"DeterminismError: two decodes of the same bytes differ: by up to 1 of 255 levels, 5[01]\.\d\d dB PSNR .*"
    assert re.fullmatch(said, error)
    assert (result.failed, result.measured) == (1, 11)
    assert "drawn decodes the same bytes to different images" in text_of(console)
    off = run(experiment(codecs=codecs, verify=False), tmp_path / "off", executor=thread, console=console)
    assert off.failed == 0


def test_another_version_where_the_work_is_done_is_named(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Dask worker with another Pillow: what is planned here is not what a host finds."""
    fingerprint = JPEG.fingerprint
    monkeypatch.setattr(JPEG, "fingerprint", lambda self: {**fingerprint(self), "pillow": "0.9"})
    jpeg = [{"codec": "jpeg", "rates": [50]}]
    run(experiment(codecs=jpeg), tmp_path / "out", executor=thread, console=console)
    import PIL

    errors = {row["error"] for row in rows(tmp_path / "out")}
    said = (
        f"FingerprintError: the codec here is not the one that was planned: pillow {PIL.__version__} here, 0.9 planned"
    )
    assert errors == {said}


def test_another_version_of_a_metric_is_named_too(
    experiment: MakeExperiment, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rdbench.datasets import open_dataset

    wanted = experiment()
    items = open_dataset(wanted.dataset).items()
    monkeypatch.setattr(PSNR, "fingerprint", lambda _: {"version": "old"})
    tasks: list[Task] = make_plan(wanted, "images", items, {}).tasks
    monkeypatch.undo()
    error = measure(tasks[0]).cells[0].error
    assert error.startswith("FingerprintError: metric psnr here is not the one that was planned: ")
    assert "version nothing here, old planned" in error


def test_a_reference_that_a_metric_writes_into_is_noticed(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    prepare = PSNR.prepare

    def scribbling(self: PSNR, reference: object) -> object:
        ctypes.memset(reference.ctypes.data, 0, 9)  # type: ignore[attr-defined]
        return prepare(self, reference)  # type: ignore[arg-type]

    monkeypatch.setattr(PSNR, "prepare", scribbling)
    run(experiment(metrics=["psnr", "flip"]), tmp_path / "out", executor=thread, console=console)
    assert any("the reference image has changed in memory" in row["error"] for row in rows(tmp_path / "out"))


def test_shipped_codecs_that_fail_unexpectedly_are_left_out_in_a_line(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: JPEG) -> None:
        raise RuntimeError("a library\nis broken")

    monkeypatch.setattr(JPEG, "check", broken)
    codecs = [{"codec": "jpeg", "rates": [50]}, {"codec": "webp", "rates": [50]}]
    result = run(experiment(codecs=codecs), tmp_path / "out", executor=thread, console=console)
    assert result.measured == 3
    (line,) = result.missing
    assert line.startswith("jpeg is left out: RuntimeError: a library is broken")


def test_what_is_described_is_not_asked_again_until_its_source_changes(mine: Path) -> None:
    name = f"{mine}:Mine"
    first = describe_codec(name, {"level": 2}, limit_s=60, complete=True)
    assert describe_codec(name, {"level": 2}, limit_s=60, complete=True) is first
    beside = mine.with_name("beside.py")
    beside.write_text("PART = 2\n")
    assert describe_codec(name, {"level": 2}, limit_s=60, complete=True).fingerprint != first.fingerprint


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_script_without_a_main_guard_is_told_what_to_write(tmp_path: Path, images: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\nfrom rdbench.experiment import validate_experiment\nfrom rdbench.run import run\n"
        f"data = {{'name': 'x', 'dataset': 'folder:{images}', 'metrics': ['psnr'],\n"
        "        'codecs': [{'codec': 'jpeg', 'rates': [10, 50]}]}\n"
        f"run(validate_experiment(data), Path({str(tmp_path / 'out')!r}), workers=2)\n"
    )
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=100, check=False)
    assert done.returncode == 1
    assert done.stderr.count('under `if __name__ == "__main__":`') == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1].startswith("rdbench.executor.WorkerStartError: ")
    assert "failed: " not in done.stderr
    assert not (tmp_path / "out" / "records.csv").exists()


@pytest.mark.parametrize("order", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.15, 0.4, 0.8])
def test_an_order_to_stop_while_it_starts_is_no_traceback(
    tmp_path: Path, images: Path, order: signal.Signals, delay: float
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(
        f"name: e\ndataset: 'folder:{images}'\nmetrics: [psnr, ms_ssim]\ncodecs: [{{codec: jpeg, rates: [50]}}]\n"
    )
    # The order may come at any time from the moment the command's own code runs.
    code = (
        "import os, sys, threading, time\n"
        "def send():\n"
        f"    time.sleep({delay})\n    os.kill(os.getpid(), {int(order)})\n"
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rdbench.cli import main\n"
        "threading.Thread(target=send, daemon=True).start()\n"
        "raise SystemExit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "run", str(path), "--out", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=100, check=False)
    assert done.returncode in (130, 0), done.stderr
    assert "Traceback" not in done.stderr


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    from rdbench.scratch import Scratch, sweep

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    alive = Scratch()
    code = "import os\nfrom rdbench.scratch import Scratch\nprint(Scratch().path)\nos.kill(os.getpid(), 9)"
    variables = environment() | {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=variables, check=False)
    (abandoned,) = set(tmp_path.iterdir()) - {alive.path}
    locked = abandoned / "locked"
    locked.mkdir(mode=0o500)
    others = [tmp_path / "rdbench-run-just-made", tmp_path / "rdbench-run-file", tmp_path / "something"]
    others[0].mkdir()
    others[1].write_text("")
    others[2].mkdir()
    sweep()
    assert set(tmp_path.iterdir()) == {alive.path, *others}
    alive.remove()
    assert not alive.path.exists()


def test_memory_beyond_the_limit_is_an_error_row_that_says_so(
    experiment: MakeExperiment, tmp_path: Path, thread: Executor, console: Console
) -> None:
    path = tmp_path / "hungry.py"
    path.write_text(
        "import time\nimport numpy as np\nfrom faulty_codecs import Quantizer\n\n\nclass Hungry(Quantizer):\n"
        "    name = 'hungry'\n\n    def encode(self, image, rate):\n        held = []\n        while rate == 16:\n"
        "            held.append(np.ones(1 << 22, np.uint8))\n            time.sleep(0.002)\n"
        "        return super().encode(image, rate)\n"
    )
    wanted = experiment(codecs=[{"codec": f"{path}:Hungry"}], limit=1)
    started = time.monotonic()
    result = run(wanted, tmp_path / "out", executor=thread, console=console, memory=300 * 2**20)
    assert (result.measured, result.failed) == (3, 1)
    (error,) = [row["error"] for row in rows(tmp_path / "out") if row["error"]]
    assert error.startswith("CodecMemoryError: stopped: it used 0.")
    assert error.endswith("GiB, more than --memory 0.293 GiB")
    assert time.monotonic() - started < 100
