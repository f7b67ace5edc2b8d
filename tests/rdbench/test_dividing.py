"""Two runs in one results folder divide the work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from rdbench import leases
from rdbench.layout import LEDGER_NAME
from rdbench.leases import Leases, describe_process
from rdbench.ledger import Ledger
from small_images import write_images

COUNTED = """
import time
from pathlib import Path
from faulty_codecs import Quantizer
class Counted(Quantizer):
    def encode(self, image, rate):
        with open(Path(__file__).with_suffix(".log"), "a") as file:
            file.write("x")
        time.sleep({seconds})
        return super().encode(image, rate)
"""


def make(tmp_path: Path, images: int, seconds: float) -> list[str]:
    write_images(tmp_path / "images", images)
    (tmp_path / "counted.py").write_text(COUNTED.format(seconds=seconds))
    experiment = {
        "name": "shared",
        "dataset": f"folder:{tmp_path / 'images'}",
        "metrics": ["psnr"],
        "verify": False,  # it encodes once more
        "codecs": [{"codec": f"{tmp_path / 'counted.py'}:Counted", "rates": [64, 32, 16, 8]}],
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(experiment))
    return [sys.executable, "-m", "rdbench", "run", str(tmp_path / "e.yaml"), "--out", str(tmp_path / "out")]


def start(command: list[str]) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([*command, "--workers", "1"], stderr=subprocess.PIPE, text=True, env=environment)


def encodes(tmp_path: Path) -> int:
    log = tmp_path / "counted.log"
    return len(log.read_text()) if log.exists() else 0


@pytest.mark.slow
def test_two_runs_measure_every_cell_once(tmp_path: Path) -> None:
    command = make(tmp_path, 16, 0.15)
    runs = [start(command), start(command)]
    errors = [run.communicate(timeout=110)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert encodes(tmp_path) == 64
    done = [next(line for line in text.splitlines() if line.startswith("done")) for text in errors]
    counts = [int(line.split()[1]) for line in done]
    assert sum(counts) == 64
    assert min(counts) > 0, "both had work"
    with Ledger(tmp_path / "out" / LEDGER_NAME) as ledger:
        assert sum(not cell.error for cell in ledger.cells()) == 64


def test_the_work_of_a_killed_run_is_taken_over_at_once(tmp_path: Path) -> None:
    command = make(tmp_path, 1, 1.0)
    with start(command) as first:
        deadline = time.monotonic() + 60
        while not encodes(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = start(command)
        time.sleep(0.5)
        first.send_signal(signal.SIGKILL)
    _, errors = second.communicate(timeout=100)
    assert second.returncode == 0, errors
    with Ledger(tmp_path / "out" / LEDGER_NAME) as ledger:
        assert sum(not cell.error for cell in ledger.cells()) == 4


def test_a_task_is_one_runs_until_it_gives_it_back(tmp_path: Path) -> None:
    Ledger(tmp_path / "l").close()
    with Leases(tmp_path / "l") as one, Leases(tmp_path / "l") as two:
        assert one.claim("a")
        assert one.claim("a")
        assert not two.claim("a")
        assert two.is_held("a")
        assert two.claim("b")
        one.release("a")
        assert two.claim("a")
        one.release("a")
        assert not one.claim("a"), "what is not one's own cannot be given back"
    with Leases(tmp_path / "l") as three:
        assert three.claim("a")


def test_a_run_of_another_machine_is_dead_once_its_heart_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(tmp_path / "l") as ledger, Leases(tmp_path / "l") as mine:
        ledger._db.execute("INSERT INTO owners VALUES ('far', ?, 7)", (json.dumps(["another", 1, 1]),))
        ledger._db.execute("INSERT INTO leases VALUES ('a', 'far')")
        clock = [1000.0]
        monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
        assert not mine.claim("a")
        clock[0] += leases.SILENT_S - 1
        ledger._db.execute("UPDATE owners SET beat = 8 WHERE owner = 'far'")
        assert not mine.claim("a")
        clock[0] += leases.SILENT_S - 1
        assert not mine.claim("a"), "it has beaten meanwhile"
        clock[0] += 2
        assert mine.claim("a")


def test_a_process_that_is_gone_is_told_from_one_with_its_number(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        living = describe_process(process.pid)
        assert living[2] is not None
        assert describe_process(process.pid) == living
        process.kill()
        deadline = time.monotonic() + 10
        while describe_process(process.pid)[2] is not None:  # also while nobody has waited for it
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with Ledger(tmp_path / "l") as ledger, Leases(tmp_path / "l") as mine:
        ledger._db.execute("INSERT INTO owners VALUES ('gone', ?, 7)", (json.dumps(living),))
        ledger._db.execute("INSERT INTO leases VALUES ('a', 'gone')")
        assert mine.claim("a")


def test_nobody_reads_what_a_run_says(tmp_path: Path) -> None:
    command = make(tmp_path, 2, 0.0)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen([*command, "--workers", "1"], stderr=write, stdout=write, env=environment) as process:
        os.close(write)
    assert process.returncode == 0
    assert (tmp_path / "out" / "summary.csv").is_file()
