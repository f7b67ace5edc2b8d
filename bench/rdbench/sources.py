"""What a name on the command line means: a curve of a results folder, a file, or a published one."""

from pathlib import Path

import pandas as pd

from rdbench.curves import CurveData, CurveSource, all_curves, resolve_curve, with_plan
from rdbench.errors import BenchError
from rdbench.interop import import_compressai, load_published
from rdbench.layout import PROVENANCE, RECORDS
from rdbench.provenance import planned_cells, read_provenance
from rdbench.records import curve_names, load_records


def find_curve(name: str, results: Path) -> CurveSource:
    """Return the curve that `name` means on the command line.

    It is, whichever comes first: a curve or label of `results`, whatever characters are in it; FOLDER:LABEL; a
    CompressAI results JSON; a published curve; a results folder with a single curve.

    Raises:
        BenchError: there is none, or a label has several and one must be chosen.
    """
    if (results / RECORDS).is_file():
        records = load_records(results)
        if name in {*curve_names(records), *records["label"]}:
            return _curves(results, records)[resolve_curve(records, name)]
    named = _in_folder(name)
    if named is None and name.endswith(".json"):
        return import_compressai(name)
    if named is None and name.startswith("published/"):
        return load_published(name)
    if named is None and (Path(name) / RECORDS).is_file():
        curves = _curves(Path(name), load_records(name))
        if len(curves) != 1:
            raise BenchError(f"'{name}' has several curves: say {name}:LABEL with one of {', '.join(curves)}")
        return next(iter(curves.values()))
    before, _, after = name.rpartition(":")
    folder, label = named or (Path(before) if before else results, after)
    records = load_records(folder)
    return _curves(folder, records)[resolve_curve(records, label)]


def _in_folder(name: str) -> tuple[Path, str] | None:
    """Return folder and label of FOLDER:LABEL, both of which may have colons in them; None where there is no folder."""
    for place in (i for i, char in enumerate(name) if char == ":"):
        if (Path(name[:place]) / RECORDS).is_file():
            return Path(name[:place]), name[place + 1 :]
    return None


def _curves(folder: Path, records: pd.DataFrame) -> dict[str, CurveData]:
    """Return every curve of a results folder by name; they know what the folder's run planned."""
    return with_plan(all_curves(records), planned_cells(read_provenance(folder / PROVENANCE)))
