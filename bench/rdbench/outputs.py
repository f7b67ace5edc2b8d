"""Write a results folder: records, summary, BD figures, plots, provenance."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rdbench.errors import BenchError
from rdbench.experiment import Experiment
from rdbench.files import check_inside
from rdbench.ledger import Cell
from rdbench.plan import Plan
from rdbench.provenance import write_provenance
from rdbench.record_writer import select_cells, write_records
from rdbench.tables import write_table
from rdbench.text import message, printable

if TYPE_CHECKING:
    from rdbench.integrals import Method

RECORDS, SUMMARY, BD, PROVENANCE, PLOTS = "records.csv", "summary.csv", "bd.csv", "provenance.json", "plots"


def write_outputs(
    out: Path,
    experiment: Experiment,
    dataset: str,
    cells: Mapping[str, Cell],
    plan: Plan,
    run: Mapping[str, Any],
    *,
    console: Console,
) -> None:
    """Write everything that follows from the ledger.

    Args:
        out: the results folder.
        experiment: what was asked for.
        dataset: the dataset's name.
        cells: the ledger's cells by key.
        plan: the run's plan.
        run: facts of the run, for the provenance.
        console: where notes go.
    """
    chosen = select_cells(cells, plan.planned, dataset)
    write_records(out / RECORDS, experiment.name, chosen, list(plan.metrics))
    mixed = _mixed_versions(chosen, plan)
    for line in mixed:
        console.print(printable(line), style="yellow", markup=False, highlight=False, soft_wrap=True)
    codecs = {label: codec.fingerprint for label, codec in plan.codecs.items()}
    write_provenance(out / PROVENANCE, experiment, codecs=codecs, metrics=plan.metrics, run={**run, "warnings": mixed})
    write_derived(
        out, anchor=experiment.anchor, bd_method=experiment.bd_method, overlay=experiment.overlay, console=console
    )


def _mixed_versions(cells: Iterable[Cell], plan: Plan) -> list[str]:
    """Return a line for each metric of which some rows were computed by another version than is installed now."""
    labels: dict[str, set[str]] = {}
    digests = plan.metric_digests
    for cell in cells:
        for name, fingerprint in digests.items():
            if cell.metric_fingerprints.get(name, fingerprint) != fingerprint:
                labels.setdefault(name, set()).add(cell.label)
    return [
        f"{name} of {', '.join(sorted(some))} was computed by another version of the metric: run these again, "
        "or do not compare them with the rest"
        for name, some in labels.items()
    ]


def are_there(out: Path) -> bool:
    """Whether every file that `write_outputs` always writes exists."""
    return all((out / name).exists() for name in (RECORDS, SUMMARY, PROVENANCE, PLOTS))


def write_derived(out: Path, *, anchor: str | None, bd_method: "Method", overlay: list[str], console: Console) -> None:
    """Write summary.csv, bd.csv and the plots anew from records.csv alone."""
    from rdbench.bd import bd_table
    from rdbench.interop import load_published
    from rdbench.plots import plot_records
    from rdbench.records import load_records, metric_columns, summary

    check_inside(out, out / PLOTS)
    records = load_records(out / RECORDS)
    metrics = metric_columns(records)
    write_table(out / SUMMARY, summary(records))
    (out / BD).unlink(missing_ok=True)  # no figures against an anchor that is none any more
    if anchor is not None and anchor not in set(records["label"]):
        line = f"no BD figures: '{printable(anchor)}', the anchor, has no rows here"
        console.print(line, style="yellow", markup=False)
    elif anchor is not None:
        try:
            table = bd_table(records, anchor, metrics, method=bd_method)
        except BenchError as error:
            console.print(f"no BD figures: {message(error)}", style="yellow", markup=False, soft_wrap=True)
        else:
            write_table(out / BD, table)
    published = []
    for name in overlay:
        try:
            published.append(load_published(name, out))
        except BenchError as error:
            console.print(f"not drawn: {message(error)}", style="yellow", markup=False, soft_wrap=True)
    plot_records(records, out / PLOTS, overlays=published)
    (out / PLOTS).mkdir(exist_ok=True)
