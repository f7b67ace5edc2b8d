"""Merge results folders, drop rows of one, give rows another label; and write the tables anew from what is left."""

import shlex
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from rdbench.cell import Cell
from rdbench.errors import BenchError, did_you_mean
from rdbench.layout import BD, LEDGER_NAME, PLOTS, PROVENANCE, RECORDS, SUMMARY
from rdbench.ledger import DamagedLedgerError, Ledger, readable_rows
from rdbench.locking import SignalsHeldBack, folder_lock
from rdbench.merging import conflicts, listed, merge
from rdbench.messages import say, warn
from rdbench.opening import noted_shown, open_ledger
from rdbench.outputs import Snapshot, store_changes, write_derived, write_snapshot
from rdbench.provenance import experiment_in, read_provenance, save_provenance
from rdbench.record_writer import read_records
from rdbench.selection import Shown, last_shown
from rdbench.text import counted

Identity = tuple[str, str]


@dataclass(frozen=True)
class Source:
    """Results of one machine.

    Attributes:
        name: what the user called them.
        cells: the rows.
        rounded: identities of those that come from a file of schema 1.
        provenance: content of its provenance.json, or nothing.
    """

    name: str
    cells: Sequence[Cell]
    rounded: set[Identity]
    provenance: Mapping[str, Any]


def read_source(path: Path, console: Console) -> Source:
    """Read a results folder or a records.csv, and leave it as it is.

    Raises:
        BenchError: there are no results.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / RECORDS if path.is_dir() else path
    provenance = read_provenance(folder / PROVENANCE)
    cells: dict[Identity, Cell] = {}
    if path.is_dir() and (folder / LEDGER_NAME).is_file():
        cells = {cell.identity: cell for cell in _copied(folder / LEDGER_NAME, console)}
    rounded: set[Identity] = set()
    if file.is_file():
        records = read_records(file, provenance)
        for problem in records.problems:
            warn(console, problem)
        if records.foreign:
            warn(console, records.foreign)
        rounded = records.old - cells.keys()
        merged = merge(cells, records.cells, records.old)
        if merged.different:
            warn(console, f"'{file}' has other values than the ledger beside it, whose are taken: "
                         f"{listed(merged.different)}")  # fmt: skip
        cells |= merged.cells
    elif not cells:
        what = f"has no {RECORDS}" if path.is_dir() else "does not exist"
        raise BenchError(f"'{path}' {what}: give a results folder or its {RECORDS}")
    return Source(str(path), list(cells.values()), rounded, provenance)


def merge_results(sources: Sequence[Path], out: Path, console: Console) -> int:
    """Merge results into a folder, which may hold some already, and write its tables.

    Rows of one label with different configurations are kept, but shown in no table; so are rows of an image whose
    name another image has. Returns the number of rows of `out`.

    Raises:
        BenchError: a source has no results, or `out` cannot be written.
    """
    read = [read_source(path, console) for path in sources]
    with open_ledger(out, console)[0] as ledger, folder_lock(out, console), SignalsHeldBack():
        with ledger.changing():
            rows = ledger.rows()
            cells = {row.cell.identity: row.cell for row in rows}
            for source in read:
                merged = merge(cells, source.cells, source.rounded)
                for what, lines in (("other values, the first are kept", merged.different), ("left out", merged.lost)):
                    if lines:
                        warn(console, f"{source.name}: {what}: {listed(lines)}")
                cells |= merged.cells
                rows_of = counted(len(source.cells), "row")
                say(console, f"{source.name}: {rows_of}, {len(merged.added)} of them new")
            result = _settled(list(cells.values()), out, console)
            revision = store_changes(ledger, rows, result)
        provenances = [read_provenance(out / PROVENANCE), *(source.provenance for source in read)]
        save_provenance(out / PROVENANCE, _joined(provenances))
        _write(out, ledger, result, last_shown(result, {}), revision, console)
    return len(result)


def _settled(cells: list[Cell], out: Path, console: Console) -> list[Cell]:
    """Show no label with two configurations, and no two images under one name."""
    for label, fingerprints in conflicts(cells).items():
        warn(
            console,
            f"{label} has {len(fingerprints)} configurations ({', '.join(fingerprints)}): kept, but in no table. Give "
            f"one another label: "
            + shlex.join(["rdbench", "relabel", str(out), label, "NEW", "--fingerprint", fingerprints[-1]]),
        )
        cells = [replace(cell, in_tables=cell.in_tables and cell.label != label) for cell in cells]
    hashes: dict[tuple[str, str], str] = {}
    for cell in cells:
        if cell.in_tables:
            hashes.setdefault((cell.dataset, cell.image), cell.image_hash)
    other = {
        cell.identity: cell.image
        for cell in cells
        if cell.in_tables and cell.image_hash and hashes[cell.dataset, cell.image] not in ("", cell.image_hash)
    }
    if other:
        names = sorted(set(other.values()))
        warn(console, f"{counted(len(other), 'row')} of other images than the first ones of that name, in no table: "
                      f"{', '.join(names[:5])}")  # fmt: skip
    return [replace(cell, in_tables=cell.in_tables and cell.identity not in other) for cell in cells]


def drop_rows(
    folder: Path,
    *,
    labels: Collection[str] = (),
    images: Collection[str] = (),
    rates: Collection[float] = (),
    errors: bool = False,
    unused: bool = False,
    dry_run: bool = False,
    console: Console,
) -> int:
    """Drop the rows of a results folder that every selector given applies to; return how many.

    Args:
        folder: the results folder.
        labels: of these labels.
        images: of these images.
        rates: at these rates.
        errors: those that failed.
        unused: those that no table shows.
        dry_run: only list them.
        console: where they are named.

    Raises:
        BenchError: a label, image or rate that no row has, or no selector at all.
    """
    if not (labels or images or rates or errors or unused):
        raise BenchError("name what to drop: --label, --image, --rate, --errors or --unused")
    with _existing(folder, console) as ledger, folder_lock(folder, console), SignalsHeldBack():
        with ledger.changing():
            rows = ledger.rows()
            cells = [row.cell for row in rows]
            _check("label", labels, {cell.label for cell in cells})
            _check("image", images, {cell.image for cell in cells})
            _check("rate", [f"{rate:g}" for rate in rates], {f"{cell.rate:g}" for cell in cells})
            gone = [
                cell
                for cell in cells
                if (not labels or cell.label in labels)
                and (not images or cell.image in images)
                and (not rates or cell.rate in rates)
                and (not errors or cell.error)
                and (not unused or not cell.in_tables)
            ]
            for (label, fingerprint), count in sorted(Counter((c.label, c.fingerprint) for c in gone).items()):
                say(console, f"{counted(count, 'row')} of {label} ({fingerprint})")
            if dry_run or not gone:
                return len(gone)
            for cell in gone:
                ledger.remove(cell.identity)
            revision = ledger.next_revision()
        dropped = {cell.identity for cell in gone}
        rest = [cell for cell in cells if cell.identity not in dropped]
        left = {cell.label for cell in rest}
        shown = {label: what for label, what in noted_shown(ledger).items() if label in left}
        _write(folder, ledger, rest, last_shown(rest, shown), revision, console)
    return len(gone)


def relabel_rows(folder: Path, old: str, new: str, *, fingerprint: str = "", console: Console) -> int:
    """Give the rows of one label another one; return how many.

    Where that leaves one configuration under a label of which tables showed nothing, they show it again.

    Args:
        folder: the results folder.
        old: the label.
        new: the label it becomes.
        fingerprint: only the rows of this configuration; the first digits are enough.
        console: where things are said.

    Raises:
        BenchError: no row has that label or configuration, or tables show another one under the new label.
    """
    if not new or new == old:
        raise BenchError("give a new label that differs from the old one")
    with _existing(folder, console) as ledger, folder_lock(folder, console), SignalsHeldBack():
        with ledger.changing():
            rows = ledger.rows()
            cells = [row.cell for row in rows]
            _check("label", [old], {cell.label for cell in cells})
            mine = [cell for cell in cells if cell.label == old]
            chosen = [cell for cell in mine if cell.fingerprint.startswith(fingerprint)]
            if not chosen:
                have = ", ".join(sorted({cell.fingerprint for cell in mine}))
                raise BenchError(f"'{old}' has no configuration {fingerprint}: have {have}")
            there = {cell.fingerprint for cell in cells if cell.label == new and cell.in_tables}
            if there - {cell.fingerprint for cell in chosen}:
                raise BenchError(
                    f"'{new}' has another configuration ({', '.join(sorted(there))}): choose another label"
                )
            moved = {cell.identity for cell in chosen}
            rest = {cell.identity: cell for cell in cells if cell.identity not in moved}
            merged = merge(rest, [replace(cell, label=new) for cell in chosen], set())
            if merged.different:
                warn(console, f"{new} has other values, which are kept: {listed(merged.different)}")
            result = _shown_again(list((rest | merged.cells).values()), {old, new})
            for identity in moved:
                ledger.remove(identity)
            revision = store_changes(ledger, [row for row in rows if row.cell.identity not in moved], result)
        shown = noted_shown(ledger)
        whole = not any(cell.label == old for cell in result)
        if whole and old in shown:
            shown[new] = shown.pop(old)
        if whole:
            save_provenance(folder / PROVENANCE, _renamed(read_provenance(folder / PROVENANCE), old, new))
        _write(folder, ledger, result, last_shown(result, shown), revision, console)
    return len(chosen)


def _shown_again(cells: list[Cell], labels: Collection[str]) -> list[Cell]:
    """Show labels of which nothing is shown and that have one configuration, on the images that tables cover."""
    images = {cell.image_hash for cell in cells if cell.in_tables}
    for label in labels:
        mine = [cell for cell in cells if cell.label == label]
        if len({cell.fingerprint for cell in mine}) == 1 and not any(cell.in_tables for cell in mine):
            cells = [
                replace(cell, in_tables=True)
                if cell.label == label and (not images or cell.image_hash in images)
                else cell
                for cell in cells
            ]
    return cells


def _write(
    folder: Path, ledger: Ledger, cells: Sequence[Cell], shown: Mapping[str, Shown], revision: int, console: Console
) -> None:
    """Write a folder's files from its rows, without a run."""
    before = read_provenance(folder / PROVENANCE)
    experiment = experiment_in(before)
    name = str(experiment.get("name") or folder.resolve().name)

    def provenance(tables: Mapping[str, Any]) -> None:
        save_provenance(folder / PROVENANCE, {**before, **tables})

    def derived() -> None:
        if not any(cell.in_tables for cell in cells):
            for path in (folder / SUMMARY, folder / BD):
                path.unlink(missing_ok=True)
            if (folder / PLOTS).is_dir() and not (folder / PLOTS).is_symlink():
                shutil.rmtree(folder / PLOTS)
            warn(console, f"no row is left that tables show: {SUMMARY}, {BD} and {PLOTS} are gone")
            return
        write_derived(
            folder,
            anchor=experiment.get("anchor"),
            bd_method=experiment.get("bd_method", "pchip"),
            overlay=experiment.get("overlay", []),
            console=console,
        )

    metrics = [str(metric) for metric in experiment.get("metrics", [])]
    found = {metric for cell in cells for metric in cell.metrics}
    ordered = [metric for metric in metrics if metric in found]
    write_snapshot(folder, name, ledger, Snapshot(cells, shown, revision), ordered, "", provenance, derived)


def _joined(provenances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several provenance files say together; where they differ, the first one's."""
    result: dict[str, Any] = {}
    for content in provenances:
        for key, value in content.items():
            if key in ("codecs", "metrics") and isinstance(value, dict):
                result[key] = value | result.get(key, {})
            elif key == "runs" and isinstance(value, list):
                runs = result.setdefault(key, [])
                runs += [run for run in value if run not in runs]
            elif key in ("experiment", "experiment_sha256"):
                result.setdefault(key, value)
    return result


def _renamed(provenance: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Return a provenance in which a label has another name."""
    codecs = provenance.get("codecs")
    if isinstance(codecs, dict) and old in codecs:
        provenance["codecs"] = {new if label == old else label: value for label, value in codecs.items()}
    experiment = provenance.get("experiment")
    if isinstance(experiment, dict):
        if experiment.get("anchor") == old:
            experiment["anchor"] = new
        for entry in experiment.get("codecs") or []:
            if isinstance(entry, dict) and entry.get("label") == old:
                entry["label"] = new
    return provenance


def _existing(folder: Path, console: Console) -> Ledger:
    if not (folder / RECORDS).is_file() and not (folder / LEDGER_NAME).is_file():
        raise BenchError(f"'{folder}' is no results folder: it has no {RECORDS}")
    return open_ledger(folder, console)[0]


def _check(kind: str, wanted: Collection[str], known: Collection[str]) -> None:
    for name in wanted:
        if name not in known:
            raise BenchError(did_you_mean(kind, name, known))


def _copied(path: Path, console: Console) -> list[Cell]:
    """Return the cells of a ledger that is not to be changed: neither brought up to date nor written to."""
    with tempfile.TemporaryDirectory(prefix="rdbench-") as folder:
        copy = Path(folder) / LEDGER_NAME
        try:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            with Ledger(copy) as ledger:
                return list(ledger.cells())
        except (sqlite3.Error, DamagedLedgerError):
            cells = readable_rows(path)
            warn(console, f"the ledger '{path}' is damaged: {len(cells)} rows of it can be read")
            return cells
