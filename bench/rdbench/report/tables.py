"""The report's tables, with figures written as the terminal writes them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from rdbench.bd import MIN_OVERLAP, BDResult, ImageMean
from rdbench.bd_text import format_figure, format_interval
from rdbench.compare import Comparison, compare_curves
from rdbench.curves import all_curves, dataset_name, metric_info, resolve_curve, with_plan
from rdbench.datasets.folder import natural_key
from rdbench.errors import BenchError
from rdbench.integrals import Method
from rdbench.provenance import planned_cells
from rdbench.records import curve_names, failures, metric_columns
from rdbench.report.charts import axis_title
from rdbench.report.numbers import decimals, plain
from rdbench.stats import holm


def metric_columns_info(records: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what the page needs to know of each metric that the records have."""
    infos = [metric_info(name) for name in metric_columns(records)]
    return [
        {
            "name": info.name,
            "title": info.title,
            "unit": info.unit,
            "arrow": "↑" if info.higher_is_better else "↓",
            "axis": axis_title(info.name),
            "higher_is_better": info.higher_is_better,
            "decimals": decimals(records[info.name]),
        }
        for info in infos
    ]


def headline(records: pd.DataFrame, provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the few facts that stand at the top: name and value."""
    failed = int((records["error"] != "").sum())
    facts = [
        ("Dataset", dataset_name(records) or "not stated"),
        ("Images", f"{records['image'].nunique()}"),
        ("Curves", f"{len(curve_names(records))}"),
        ("Cells", f"{len(records):,}" + (f", {failed:,} failed" if failed else "")),
    ]
    facts += _measured(records, planned_cells(provenance)[1])
    runs = [run for run in provenance.get("runs") or [] if isinstance(run, dict)]
    if runs:
        facts.append(("Measured", str(runs[-1].get("started", ""))[:10]))
        facts.append(("rdbench", f"{runs[-1].get('rdbench', '')} {runs[-1].get('revision') or ''}".strip()))
    return [(name, value) for name, value in facts if value]


def _measured(records: pd.DataFrame, cells: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return how much of what was planned is measured, where provenance.json says what was planned."""
    if not cells:
        return []
    good = records[records["error"] == ""].groupby("label", observed=True).size()
    missing = [label for label, count in cells.items() if good.get(label, 0) < count]
    done = sum(min(count, int(good.get(label, 0))) for label, count in cells.items())
    share = f"{done:,} of {sum(cells.values()):,} planned cells"
    return [("Complete", f"{share}; not complete: {', '.join(missing)}" if missing else "all planned cells")]


def image_table(records: pd.DataFrame) -> dict[str, Any]:
    """Return every row of the records, by curve, for the table that is sorted on the page."""
    names = sorted(records["image"].astype(str).unique(), key=lambda name: natural_key(PurePath(name)))
    place = {name: i for i, name in enumerate(names)}
    columns = [name for name in ("bytes", "bpp", *metric_columns(records), "encode_s", "decode_s") if name in records]
    rows = {}
    frame = records.assign(place=records["image"].astype(str).map(place)).sort_values(["place", "rate"], kind="stable")
    groups = frame.groupby(frame["curve"].astype(object), sort=False)
    for name, group in groups:
        rows[str(name)] = {
            "image": group["place"].tolist(),
            "rate": plain(group["rate"]),
            "error": group["error"].tolist(),
        } | {column: plain(group[column]) for column in columns}
    sizes = {}
    if {"width", "height"} <= set(records.columns):
        known = records.dropna(subset=["width", "height"]).drop_duplicates("image")
        sides = zip(known["image"], known["width"], known["height"], strict=True)
        sizes = {str(image): f"{width:g}\u00d7{height:g}" for image, width, height in sides}
    return {
        "images": [{"name": name, "size": sizes.get(name, "")} for name in names],
        "curves": [{"name": name, **rows[name]} for name in curve_names(records)],
        "columns": [{"name": name, "decimals": _decimals(name, records)} for name in columns],
    }


def _decimals(column: str, records: pd.DataFrame) -> int:
    return {"bytes": 0, "bpp": 4}.get(column, decimals(records[column]))


def bd_tables(
    records: pd.DataFrame,
    anchor: str | None,
    metrics: Sequence[str],
    method: Method = "pchip",
    plan: tuple[int, Mapping[str, int]] = (0, {}),
) -> dict[str, Any]:
    """Return every curve against the anchor, one table per metric, best BD-rate first.

    Returns:
        ``anchor`` and ``tables``; where there is no figure to give, ``missing`` says why, and ``tables`` is empty.
    """
    if not anchor:
        return {"anchor": "", "tables": [], "missing": "the experiment names no anchor: choose one with --anchor LABEL"}
    curves = with_plan(all_curves(records), plan)
    if anchor not in {*curves, *records["label"]}:
        return {"anchor": anchor, "tables": [], "missing": f"'{anchor}', the anchor, has no rows here yet"}
    try:
        base = curves.pop(resolve_curve(records, anchor))
    except BenchError as error:
        return {"anchor": anchor, "tables": [], "missing": str(error)}
    if not curves:
        return {"anchor": anchor, "tables": [], "missing": f"{base.name} is the only curve"}
    by_metric: dict[str, list[Comparison]] = {name: [] for name in metrics}
    for data in curves.values():
        for comparison in compare_curves(base, data, metrics, method=method):
            by_metric[comparison.metric].append(comparison)
    return {
        "anchor": base.name,
        "missing": "",
        "method": method,
        "tables": [_bd_table(name, comparisons) for name, comparisons in by_metric.items()],
        "curves": list(curves),
    }


def _bd_table(metric: str, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    info = metric_info(metric)
    bars = _bars([comparison.bd_rate for comparison in comparisons])
    corrected = holm([comparison.sign_p for comparison in comparisons])
    rows = [_bd_row(*each) for each in zip(comparisons, bars["rows"], corrected, strict=True)]
    rows.sort(key=lambda row: (row["rate_value"] is None, row["rate_value"]))
    return {"metric": metric, "title": info.title, "unit": info.unit, "rows": rows, "zero": bars["zero"]}


def _bd_row(comparison: Comparison, bar: dict[str, float] | None, sign_p: float) -> dict[str, Any]:
    rate, quality, own = comparison.bd_rate, comparison.bd_quality, comparison.bd_rate_images
    decided = comparison.wins + comparison.losses
    better = quality.value * (1 if metric_info(comparison.metric).higher_is_better else -1) if quality else 0.0
    return {
        "curve": comparison.new,
        "images": comparison.n_images,
        "rate_value": rate.value if rate else None,
        "rate": format_figure(rate, ".2f", " %"),
        "rate_interval": format_interval(rate, ".2f"),
        "rate_side": _side(rate),
        "own": format_figure(own, ".2f", " %") if own.n_images else "",
        "own_interval": format_interval(own, ".2f"),
        "own_side": "" if math.isnan(own.low) else _side(own),
        "own_images": f"{own.n_images}/{own.of}" if own.n_images else "",
        "overlap": f"{rate.overlap:.0%}" if rate else "",
        "low_overlap": bool(rate and rate.overlap < MIN_OVERLAP),
        "quality": format_figure(quality, ".3g", ""),
        "quality_interval": format_interval(quality, ".3g"),
        "quality_side": "" if not quality or _straddles(quality) else ("better" if better > 0 else "worse"),
        "won": f"{comparison.wins}/{comparison.losses}" if decided else "",
        "sign_test": "" if math.isnan(sign_p) else f"p {sign_p:.2g}",
        "encode": _ratio(comparison.encode_ratio),
        "decode": _ratio(comparison.decode_ratio),
        "notes": comparison.notes,
        "bar": bar,
    }


def _side(result: BDResult | ImageMean | None) -> str:
    """Return "better" or "worse" where a BD-rate's interval (without one, the figure) is on one side of zero."""
    if result is None or _straddles(result):
        return ""
    return "better" if result.value < 0 else "worse"


def _straddles(result: BDResult | ImageMean) -> bool:
    return not math.isnan(result.low) and result.low <= 0 <= result.high


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}\u00d7"


def _bars(results: Sequence[BDResult | None]) -> dict[str, Any]:
    """Return where figure and interval lie on a bar of 0 to 100 %, over the logarithm of the rate ratio."""
    values = [0.0] + [v for r in results if r for v in (r.value, r.low, r.high) if not math.isnan(v)]
    low, high = math.log1p(min(values) / 100), math.log1p(max(values) / 100)
    span = (high - low) or 1.0

    def at(percent: float) -> float:
        return round(100 * (math.log1p(percent / 100) - low) / span, 2)

    rows = []
    for result in results:
        ends = None
        if result is not None:
            known = not math.isnan(result.low)
            first, last = (at(result.low), at(result.high)) if known else (at(result.value), at(result.value))
            ends = {"at": at(result.value), "from": first, "width": round(last - first, 2)}
        rows.append(ends)
    return {"rows": rows, "zero": at(0.0)}


def failure_groups(records: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the cells that failed: those of one curve with one error together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in failures(records).itertuples(index=False):
        groups.setdefault((str(row.curve), str(row.error)), []).append(f"{row.image} at {float(str(row.rate)):g}")
    return [{"curve": curve, "error": error, "cells": cells} for (curve, error), cells in groups.items()]
