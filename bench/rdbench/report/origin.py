"""Where the figures come from: provenance.json as tables to read."""

import json
from collections.abc import Mapping
from typing import Any

from rdbench.progress import format_seconds
from rdbench.report.charts import settings_text
from rdbench.text import printable, safe_texts

_RUN_FACTS = ("started", "command", "measured", "failed", "wall_s", "workers", "threads", "processor", "revision")


def provenance_tables(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runs, the codecs' and metrics' fingerprints, the packages of the last run, and the whole as JSON."""
    runs = [run for run in provenance.get("runs") or [] if isinstance(run, dict)]
    text = json.dumps(provenance, indent=2, sort_keys=True, ensure_ascii=False) if provenance else ""
    return {
        "runs": safe_texts([{name: _shown(name, run.get(name)) for name in _RUN_FACTS} for run in runs]),
        "codecs": safe_texts(_fingerprints(provenance.get("codecs"))),
        "metrics": safe_texts(_fingerprints(provenance.get("metrics"))),
        "packages": sorted((runs[-1].get("packages") or {}).items()) if runs else [],
        "warnings": [printable(line) for line in runs[-1].get("warnings") or []] if runs else [],
        "json": "\n".join(printable(line, None) for line in text.split("\n")),
    }


def _fingerprints(entries: Any) -> list[dict[str, str]]:
    if not isinstance(entries, dict):
        return []
    return [
        {
            "name": str(name),
            "digest": str(entry.get("digest", "")),
            "text": settings_text(entry.get("fingerprint") or {}),
        }
        for name, entry in entries.items()
        if isinstance(entry, dict)
    ]


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "wall_s" and isinstance(value, int | float):
        return format_seconds(value)
    return str(value).replace("T", " ").removesuffix("+00:00") if name == "started" else str(value)
