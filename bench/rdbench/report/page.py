"""Put the report's parts together and write the file."""

import base64
import functools
import gzip
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rdbench import __version__
from rdbench.curves import resolve_curve
from rdbench.errors import BenchError
from rdbench.files import atomic_text
from rdbench.interop import published_curves
from rdbench.layout import PROVENANCE
from rdbench.messages import warn
from rdbench.provenance import experiment_in, planned_cells, read_provenance
from rdbench.records import load_records, metric_columns
from rdbench.report.charts import rd_charts
from rdbench.report.origin import provenance_tables
from rdbench.report.pictures import make_gallery
from rdbench.report.steps import step_charts
from rdbench.report.tables import bd_tables, failure_groups, headline, image_table, metric_columns_info
from rdbench.text import safe_texts

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"
_SCRIPTS = ("base.js", "chart.js", "curves.js", "steps.js", "pictures.js", "images.js")
"""In the order in which they run, after the plotting library."""


class ReportError(BenchError):
    """The report cannot be made."""


def write_report(
    results: Path | str, console: Console, *, anchor: str | None = None, overlays: Sequence[str] | None = None
) -> Path:
    """Write ``report.html`` into a results folder, from what lies there; no codec runs.

    The same folder gives the same file, byte for byte. Pictures are shown where a run kept its reconstructions
    (`rdbench run --keep`) and the dataset's originals can be read; where not, the report says how to get them.

    Args:
        results: the results folder, with records.csv.
        console: where notes go, such as why there are no pictures.
        anchor: curve (or label, where it has one curve) that BD figures are given against; by default the
            experiment's.
        overlays: names of published curves, see `load_published`; by default the experiment's.

    Returns:
        The file.

    Raises:
        RecordsError: there are no usable records.
        CurveError: `anchor` is none of their curves.
        ReportError: a package is missing, or the file cannot be written.
    """
    folder = Path(results)
    environment, plotly = _environment(), _plotly()
    records = load_records(folder)
    provenance = read_provenance(folder / PROVENANCE)
    experiment = experiment_in(provenance)
    method = experiment.get("bd_method", "pchip")
    plan = planned_cells(provenance)
    if anchor is not None:
        anchor = resolve_curve(records, anchor)
    published = published_curves(experiment.get("overlay", []) if overlays is None else overlays, folder, console)
    gallery = make_gallery(records, folder, experiment)
    if gallery.missing:
        warn(console, f"no pictures: {gallery.missing}")
    metrics = metric_columns(records)
    title = str(experiment.get("name") or folder.resolve().name)
    data = {
        "metrics": metric_columns_info(records),
        "curves": rd_charts(records, published, provenance),
        "steps": step_charts(records),
        "images": image_table(records),
        "gallery": gallery.described(),
    }
    shown: dict[str, Any] = safe_texts(
        {
            "title": title,
            "description": " ".join(str(experiment.get("description", "")).split()),
            "headline": headline(records, provenance),
            "bd": bd_tables(records, anchor or experiment.get("anchor"), metrics, method, plan),
            "failures": failure_groups(records),
            "folder": folder.name,
            "data": data,
        }
    )
    scripts = [_static(name) for name in _SCRIPTS]
    html = environment.get_template("report.html.j2").render(
        **shown,
        version=__version__,
        metrics=data["metrics"],
        has_steps=bool(data["steps"]),
        gallery=gallery,
        origin=provenance_tables(provenance),
        pictures=gallery.pictures(),
        style=_static("report.css"),
        scripts=scripts,
        plotly=base64.b64encode(gzip.compress(plotly.encode(), 9, mtime=0)).decode(),
        script_hashes=[_csp_hash(text) for text in (*scripts, plotly)],
    )
    path = folder / NAME
    try:
        with atomic_text(path) as file:
            file.write(html)
    except OSError as error:
        raise ReportError(f"cannot write '{path}': {error.strerror or error}") from error
    return path


def _environment() -> "Environment":
    """Return the templates; every value that they print is escaped, and a name that does not exist is an error."""
    try:
        import jinja2
    except ImportError as error:
        raise ReportError(_install("jinja2")) from error
    return jinja2.Environment(
        loader=jinja2.PackageLoader("rdbench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plotly() -> str:
    """Return plotly.js, which the `plotly` package brings along."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ReportError(_install("plotly")) from error
    return str(get_plotlyjs())


def _install(package: str) -> str:
    return f"the report needs the package {package}: pip install 'rdbench[report]'"


@functools.cache
def _static(name: str) -> str:
    return (files("rdbench.report") / "static" / name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    """Return how a Content-Security-Policy names an inline script that may run; no other one does."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
