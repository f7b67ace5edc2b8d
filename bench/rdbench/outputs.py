"""Write a results folder: records, summary, BD figures, plots, provenance."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.experiment import Experiment
from rdbench.files import check_inside, write_bytes
from rdbench.layout import BD, EARLIER_BD, PLOTS, PROVENANCE, RECORDS, SUMMARY
from rdbench.ledger import Export, Ledger, Row
from rdbench.messages import warn
from rdbench.opening import file_digest, noted_shown
from rdbench.plan import Plan
from rdbench.provenance import write_provenance
from rdbench.record_writer import records_bytes
from rdbench.selection import Shown, select
from rdbench.tables import write_table
from rdbench.text import message, printable

if TYPE_CHECKING:
    import pandas as pd

    from rdbench.integrals import Method


def write_outputs(
    out: Path,
    experiment: Experiment,
    dataset: str,
    ledger: Ledger,
    plan: Plan,
    run: Mapping[str, Any],
    *,
    console: Console,
) -> list[Cell]:
    """Write everything that follows from the ledger, while no other run writes there and no signal stops it.

    Args:
        out: the results folder.
        experiment: what was asked for.
        dataset: the dataset's name.
        ledger: the folder's.
        plan: the run's plan.
        run: facts of the run, for the provenance.
        console: where notes go.

    Returns:
        All rows of the ledger as they were written.
    """
    with ledger.changing():
        rows = ledger.rows()
        cells = [row.cell for row in rows]
        selection = select(cells, plan.planned, plan.image_names, dataset, noted_shown(ledger))
        if not any(cell.in_tables for cell in selection.cells):
            warn(console, "nothing is measured yet: tables are as they were")
            return cells
        revision = store_changes(ledger, rows, selection.cells)
    chosen = [cell for cell in selection.cells if cell.in_tables]
    mixed = _mixed_versions(chosen, plan)
    for line in mixed:
        warn(console, line)
    codecs = {label: codec.fingerprint for label, codec in plan.codecs.items()}
    images = {"name": dataset, "images": plan.image_digests}

    def provenance(tables: Mapping[str, Any]) -> None:
        write_provenance(
            out / PROVENANCE,
            experiment,
            codecs=codecs,
            metrics=plan.metrics,
            run={**run, "warnings": mixed},
            tables={"dataset": images, **tables},
        )

    def derived() -> None:
        write_derived(
            out, anchor=experiment.anchor, bd_method=experiment.bd_method, overlay=experiment.overlay, console=console
        )

    snapshot = Snapshot(selection.cells, selection.shown, revision)
    write_snapshot(out, experiment.name, ledger, snapshot, list(plan.metrics), plan.digest, provenance, derived)
    return list(selection.cells)


@dataclass(frozen=True)
class Snapshot:
    """All rows of a ledger at one moment.

    Attributes:
        cells: the rows.
        shown: what tables show of each label.
        revision: the ledger's at that moment.
    """

    cells: Sequence[Cell]
    shown: Mapping[str, Shown]
    revision: int


def store_changes(ledger: Ledger, before: Sequence[Row], after: Iterable[Cell]) -> int:
    """Store rows that are new or say something else than before; within `changing`. Return the ledger's revision.

    A row that only says something else (whether it is shown, under which name its image goes) is no newer for it.
    """
    old = {row.cell.identity: row for row in before}
    changed = [cell for cell in after if cell.identity not in old or old[cell.identity].cell != cell]
    if not changed:
        return ledger.revision()
    revision = ledger.next_revision()
    for cell in changed:
        row = old.get(cell.identity)
        ledger.store(cell, revision if row is None else row.revision)
    return revision


def write_snapshot(
    out: Path,
    experiment: str,
    ledger: Ledger,
    snapshot: Snapshot,
    metrics: Sequence[str],
    plan: str,
    provenance: Callable[[Mapping[str, Any]], None],
    derived: Callable[[], None],
) -> None:
    """Write records.csv from a ledger's rows, then what belongs to it, and note in the ledger that this was done.

    Args:
        out: the results folder.
        experiment: the experiment's name.
        ledger: the folder's.
        snapshot: its rows.
        metrics: the order of the metric columns.
        plan: digest of the plan, by which a later run knows that there is nothing to write; "" for no such thing.
        provenance: writes provenance.json, given what it says of the tables.
        derived: writes all that follows from records.csv.
    """
    data = records_bytes(experiment, snapshot.cells, metrics)
    digest = hashlib.sha256(data).hexdigest()
    shown = {label: asdict(what) for label, what in snapshot.shown.items()}
    with ledger.changing():
        before = ledger.export()
        # Should the run be killed before the file is there: what lies there then is this ledger's all the same.
        ledger.note_export(replace(before, plan="", records=(*before.records[-1:], digest)))
    try:
        write_bytes(out / RECORDS, data)
        provenance({"records_sha256": digest, "tables": shown})
        derived()
    except OSError as error:
        what = f"{error.filename or out}: {error.strerror or error}"
        raise BenchError(f"cannot write the tables ({what}); the ledger has every row, run again") from error
    with ledger.changing():
        ledger.note_export(Export(snapshot.revision, plan, (digest,), shown))


def is_written(out: Path, ledger: Ledger, plan: str) -> bool:
    """Whether everything that `write_outputs` writes is there, and was written from these rows for this plan."""
    export = ledger.export()
    return (
        export.plan == plan
        and export.revision == ledger.revision()
        and file_digest(out / RECORDS) == export.records[-1]
        and all((out / name).exists() for name in (SUMMARY, PROVENANCE, PLOTS))
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


def write_derived(out: Path, *, anchor: str | None, bd_method: "Method", overlay: list[str], console: Console) -> None:
    """Write summary.csv, bd.csv and the plots anew from records.csv alone; see `derive`."""
    derive(out, anchor=anchor, bd_method=bd_method, overlay=overlay, console=console)()


def derive(
    out: Path,
    *,
    anchor: str | None,
    bd_method: "Method",
    overlay: list[str],
    console: Console,
    strict: bool = False,
) -> Callable[[], None]:
    """Compute summary.csv and bd.csv from records.csv; the function that is returned writes them, and the plots.

    Whatever is wrong leaves the folder as it was: the plots too are drawn before any file is replaced. Where there
    are no BD figures a line says why, and a bd.csv that is there stays.

    Args:
        out: the results folder.
        anchor: what BD figures are given against: a curve, or a label that has one; None for no BD figures.
        bd_method: the interpolation.
        overlay: names of published curves to draw.
        console: where notes go.
        strict: an anchor that has no BD figures is an error, not a note: somebody asked for it by name.

    Raises:
        RecordsError: there are no usable records.
        BenchError: with `strict`, there is no such anchor.
        DrawError: (in writing) the plots cannot be drawn.
    """
    from rdbench.interop import published_curves
    from rdbench.plots import plot_records
    from rdbench.records import load_records, metric_columns, summary

    check_inside(out, out / PLOTS)
    records = load_records(out / RECORDS)
    tables = {SUMMARY: summary(records)}
    kept = ""
    if (out / BD).exists():
        kept = (
            f"; {BD} stays as it was" if anchor is None else f"; {BD}, which is of earlier rows, becomes {EARLIER_BD}"
        )
    why = "" if anchor is not None or not kept else "the experiment names no anchor"
    if anchor is not None:
        try:
            tables[BD] = _bd_table(records, anchor, metric_columns(records), bd_method, strict=strict)
        except BenchError as error:
            if strict:
                raise
            why = message(error)
    if why:
        warn(console, f"no BD figures: {why}{kept}")
    published = published_curves(overlay, out, console)

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            drawn = {path.name: path.read_bytes() for path in plot_records(records, folder, overlays=published)}
        for name, table in tables.items():
            write_table(out / name, table)
        if BD not in tables and anchor is not None and (out / BD).exists():
            (out / BD).replace(out / EARLIER_BD)
        (out / PLOTS).mkdir(exist_ok=True)
        for name, data in drawn.items():
            write_bytes(out / PLOTS / name, data)

    return write


def _bd_table(
    records: "pd.DataFrame", anchor: str, metrics: list[str], method: "Method", *, strict: bool
) -> "pd.DataFrame":
    from rdbench.compare import bd_table
    from rdbench.records import curve_names

    if not strict and anchor not in {*curve_names(records), *records["label"]}:
        raise BenchError(f"'{printable(anchor)}', the anchor, has no rows here yet")
    return bd_table(records, anchor, metrics, method=method)
