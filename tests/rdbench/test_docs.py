"""What the documents show is run here."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rdbench.cli import main
from rdbench.experiment import CodecEntry, Experiment
from rdcodecs import StreamError, load_codec

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def deflate(tmp_path: Path) -> Path:
    """Return the codec of docs/adding-a-codec.md as a file."""
    code = re.search(r"```python\n(import struct.*?)```", (DOCS / "adding-a-codec.md").read_text(), re.DOTALL)
    assert code is not None
    path = tmp_path / "deflate.py"
    path.write_text(code[1])
    return path


def test_the_codec_in_the_guide_is_short_and_keeps_its_promises(deflate: Path) -> None:
    body = [line for line in deflate.read_text().split("class Deflate")[1].splitlines() if line.strip()]
    assert len(body) <= 20
    codec = load_codec(f"{deflate}:Deflate")
    image = np.random.default_rng(0).integers(0, 256, (33, 17, 3), dtype=np.uint8)
    decoded = codec.decode(codec.encode(image, 8))
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).max() <= 4
    with pytest.raises(StreamError):
        codec.decode(b"")


def test_the_codec_in_the_guide_joins_an_experiment(deflate: Path, images: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "e.yaml"
    experiment.write_text(
        f"name: e\ndataset: folder:{images}\nmetrics: [psnr]\ncodecs: [{{codec: jpeg, rates: [10, 40, 80]}}]\n"
    )
    out = tmp_path / "out"
    command = ["run", str(experiment), "--out", str(out), "--workers", "1"]
    assert main(command) == 0
    assert main([*command, "--codec", f"{deflate}:Deflate"]) == 0
    with (out / "records.csv").open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert set(labels) == {"jpeg", "deflate"}
    assert main(["compare", "jpeg", "deflate", "--results", str(out)]) == 0


def test_the_codec_in_the_guide_is_found_by_its_entry_point(deflate: Path, tmp_path: Path) -> None:
    package = tmp_path / "site"
    info = package / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "my_deflate.py").write_text(deflate.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rdbench.codecs]\ndeflate = my_deflate:Deflate\n")
    done = subprocess.run(
        [sys.executable, "-m", "rdbench", "codecs"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join([str(package), *sys.path]), "COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    )
    (line,) = (line for line in done.stdout.splitlines() if line.split()[:1] == ["deflate"])
    assert "step 1..128" in line
    assert line.rstrip().endswith("yes")


@pytest.mark.parametrize("model", [Experiment, CodecEntry])
def test_the_reference_has_every_key_of_an_experiment(model: type[Experiment] | type[CodecEntry]) -> None:
    reference = (DOCS / "experiments.md").read_text()
    for name, field in model.model_fields.items():
        assert f"| `{name}` | {field.description} |" in reference


def test_links_between_the_documents_lead_somewhere() -> None:
    root = DOCS.parent
    documents = [*root.glob("*.md"), *DOCS.rglob("*.md"), *(root / "results").rglob("*.md")]
    assert len(documents) > 15
    for document in documents:
        for target, heading in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", document.read_text()):
            if target.startswith(("http", "mailto")):
                continue
            path = document.parent / target if target else document
            assert path.exists(), f"{document.name} links to {target}"
            if heading:
                assert heading in headings(path), f"{document.name} links to {target}#{heading}"


def headings(page: Path) -> set[str]:
    """Return the names under which the headings of a page can be linked to, formed as GitHub does."""
    titles = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
