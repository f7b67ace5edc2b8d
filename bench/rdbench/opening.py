"""Open a results folder: its ledger, with whatever records.csv holds that the ledger does not."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from rdbench.cell import Cell
from rdbench.errors import BenchError
from rdbench.files import refuse_links_out, sweep_parts, write_bytes
from rdbench.layout import LEDGER_NAME, PLOTS, PROVENANCE, RECORDS
from rdbench.ledger import DamagedLedgerError, Ledger, Row, readable_rows
from rdbench.merging import Merged, listed, merge
from rdbench.messages import say, warn
from rdbench.provenance import read_provenance
from rdbench.record_writer import ReadRecords, read_records
from rdbench.selection import Shown, last_shown
from rdbench.text import counted


def open_ledger(out: Path, console: Console) -> tuple[Ledger, list[Row]]:
    """Open the ledger of a results folder, making both where they are missing, and bring in its records.csv.

    Ledger and records.csv are merged by the rule of `merging`, unless records.csv is byte for byte what the ledger
    wrote. A damaged ledger is said, moved aside, and started anew from records.csv and its own readable rows.

    Returns:
        The ledger and its rows, the oldest first.

    Raises:
        BenchError: the folder cannot be made or written, or its records.csv is something else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the results folder '{out}' ({error.strerror}): choose another --out"
        raise BenchError(message) from error
    if not os.access(out, os.W_OK):
        raise BenchError(f"the results folder '{out}' is not writable: choose another with --out")
    refuse_links_out(out, LEDGER_NAME)
    sweep_parts(out, out / PLOTS)
    ledger, rows = _open_whole(out / LEDGER_NAME, console)
    try:
        if _bring_in_records(ledger, out, console):
            rows = ledger.rows()
    except BaseException:
        ledger.close()
        raise
    return ledger, rows


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, "" where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def noted_shown(ledger: Ledger) -> dict[str, Shown]:
    """Return what tables last showed of each label, as the ledger noted it."""
    return {label: Shown(**what) for label, what in (ledger.export().shown or {}).items()}


def _open_whole(path: Path, console: Console) -> tuple[Ledger, list[Row]]:
    try:
        return _checked(path)
    except DamagedLedgerError as error:
        saved = readable_rows(path)
        aside = _move_aside(path)
        for name in ("-wal", "-shm"):
            path.with_name(path.name + name).unlink(missing_ok=True)
        rest = f" and its {len(saved)} readable rows" if saved else ""
        say(console, f"{error}: moved to '{aside.name}', starting anew from records.csv{rest}", "red")
        ledger, _ = _checked(path)
        ledger.put(saved)
        return ledger, ledger.rows()


def _checked(path: Path) -> tuple[Ledger, list[Row]]:
    """Open a ledger and read every row: only that shows that each is what was written."""
    ledger = Ledger(path)
    try:
        return ledger, ledger.rows()
    except BaseException:
        ledger.close()
        raise


def _bring_in_records(ledger: Ledger, out: Path, console: Console) -> bool:
    """Merge a folder's records.csv into its ledger. Returns whether there may be other rows in it now."""
    path = out / RECORDS
    export = ledger.export()
    there = file_digest(path)
    if not there:
        if export.records and len(ledger):
            warn(console, f"'{path}' is missing: written anew from the ledger")
        return False
    if there in export.records:
        return False
    provenance = read_provenance(out / PROVENANCE)
    known = len(ledger)
    try:
        records = read_records(path, provenance)
    except BenchError as error:
        if not known:
            raise
        say(console, f"{error.args[0].removesuffix(': move it away')}: moved to '{_move_aside(path).name}', "
                     "written anew from the ledger", "red")  # fmt: skip
        return False
    for problem in records.problems:
        warn(console, problem)
    if records.problems:
        warn(console, f"the file as it was is kept as '{_copy_aside(path, there).name}'")
    if records.foreign:
        warn(console, records.foreign)
    if not known:
        _note_shown(ledger, provenance)
    merged, hidden = _merge_into(ledger, records)
    if not known:
        count = len({cell.identity for cell in records.cells})
        say(console, f"read {counted(count, 'known cell')} from '{path}'")
        noted = provenance.get("records_sha256")
        if noted and noted != there:
            warn(console, f"'{path}' is not the file that {PROVENANCE} names: it was edited or cut off")
    else:
        line = _found(merged, hidden, bool(export.records))
        if line:
            warn(console, f"'{path}' {line}")
    return True


def _note_shown(ledger: Ledger, provenance: Mapping[str, Any]) -> None:
    """Note what tables last showed, by provenance.json, in a ledger that is new."""
    try:
        shown = {str(label): asdict(Shown(**what)) for label, what in provenance.get("tables", {}).items()}
    except (AttributeError, TypeError):
        return
    with ledger.changing():
        ledger.note_export(replace(ledger.export(), shown=shown))


def _merge_into(ledger: Ledger, records: ReadRecords) -> tuple[Merged, list[Cell]]:
    """Merge a file's rows into a ledger.

    Returns:
        What became of it, and the rows added that are not shown since their label has another configuration here.
    """
    with ledger.changing():
        export = ledger.export()
        rows = ledger.rows()
        mine = {row.cell.identity: row.cell for row in rows}
        merged = merge(mine, records.cells, records.old)
        changed = dict(merged.cells)
        if records.old and not export.records:
            changed |= _shown_by_old_file(mine | changed, records)
        shown = last_shown(mine.values(), noted_shown(ledger))
        hidden = [
            cell
            for cell in merged.added
            if cell.in_tables and cell.label in shown and cell.fingerprint != shown[cell.label].fingerprint
        ]
        changed |= {cell.identity: replace(changed[cell.identity], in_tables=False) for cell in hidden}
        exported = {row.cell.identity for row in rows if row.revision <= export.revision}
        # A row that was never exported is not missing, nor one that a file of schema 1 had no place for.
        merged.missing = [cell for cell in merged.missing if cell.identity in exported and not records.old]
        if changed:
            revision = ledger.next_revision()
            before = {row.cell.identity: row.revision for row in rows}
            for identity, cell in changed.items():
                ledger.store(cell, before.get(identity, revision))
    return merged, hidden


def _shown_by_old_file(cells: Mapping[tuple[str, str], Cell], records: ReadRecords) -> dict[tuple[str, str], Cell]:
    """Return the rows of which a file of schema 1 says otherwise whether tables show them: it holds no others."""
    labels = {label for _, label in records.old}
    return {
        identity: replace(cell, in_tables=identity in records.old)
        for identity, cell in cells.items()
        if cell.label in labels and cell.in_tables != (identity in records.old)
    }


def _found(merged: Merged, hidden: list[Cell], exported: bool) -> str:
    """Return what is to be said of a records.csv beside a ledger, "" where there is nothing."""
    parts = []
    if merged.added:
        parts.append(f"{counted(len(merged.added), 'row')} that the ledger did not have: added")
    if hidden:
        labels = ", ".join(sorted({cell.label for cell in hidden}))
        parts.append(
            f"{counted(len(hidden), 'row')} of another configuration than {labels} has here: in no table until they "
            "have a label of their own (`rdbench relabel`)"
        )
    if merged.better:
        parts.append(f"{counted(merged.better, 'row')} with more than the ledger had: taken over")
    if merged.missing:
        parts.append(f"{counted(len(merged.missing), 'row')} missing: written again (`rdbench drop` removes rows)")
    if merged.different:
        parts.append(f"other values, the ledger's are kept: {listed(merged.different)}")
    if merged.lost:
        parts.append(f"left out: {listed(merged.lost)}")
    if not exported:
        return f"has {'; '.join(parts)}" if parts else ""
    return f"was changed since it was written: {'; '.join(parts) or 'all its rows are as they were'}"


def _copy_aside(path: Path, digest: str) -> Path:
    """Keep a file that will be written anew, unless it is kept already."""
    for kept in path.parent.glob(f"{path.name}.damaged-*"):
        if file_digest(kept) == digest:
            return kept
    aside = _aside(path)
    write_bytes(aside, path.read_bytes())
    return aside


def _move_aside(path: Path) -> Path:
    aside = _aside(path)
    path.replace(aside)
    return aside


def _aside(path: Path) -> Path:
    name = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    aside, count = path.with_name(name), 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{name}-{count}")
    return aside
