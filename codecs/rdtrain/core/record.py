"""How a model was trained: a record beside its weights, and the card that people read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdtrain.core.data import Crops
from rdtrain.core.settings import to_json

RECORD = "training.json"
"""How a model was trained; in its folder."""
CARD = "README.md"
_NOTES = "NOTES.md"
_POINTS = 12


def training_record(log: Sequence[Mapping[str, Any]], config: Any, crops: Crops, device: str) -> dict[str, Any]:
    """Return the facts of a training, JSON-able.

    Args:
        log: its lines.
        config: its settings, a dataclass.
        crops: the images.
        device: trained on.
    """
    held_out = [line for line in log if line["kind"] == "held_out"]
    return {
        "steps": max((line["step"] for line in log), default=0),
        "seconds": max((line["seconds"] for line in log), default=0.0),
        "device": device,
        "config": json.loads(to_json(config)),
        "data": {
            "digest": crops.digest,
            "train_images": crops.files[0],
            "train_crops": len(crops.train),
            "held_out_images": crops.files[1],
            "held_out_crops": len(crops.held_out),
        },
        "curve": [{key: value for key, value in line.items() if key != "kind"} for line in _thinned(held_out)],
    }


def record_and_card(folder: Path, facts: Mapping[str, Any], title: str, about: str) -> None:
    """Write the record and the card of a model that was trained in one piece.

    What cannot be known from the training, such as the licences of the images, is taken from ``NOTES.md`` in the
    folder where there is one.

    Args:
        folder: of the model.
        facts: of `training_record`.
        title: of the card.
        about: what the model is, a paragraph.
    """
    (folder / RECORD).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    lines = [f"# {title}", "", about, "", *notes(folder), *training_section("Training", facts, facts["config"])]
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")


def notes(folder: Path) -> list[str]:
    """Return the lines that a model's own notes add to its card."""
    path = folder / _NOTES
    return [path.read_text(encoding="utf-8").strip(), ""] if path.is_file() else []


def training_section(title: str, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return a card's section on one training.

    Args:
        title: of the section.
        facts: of `training_record`.
        settings: those to show.
    """
    data = facts["data"]
    return [
        f"## {title}",
        "",
        f"{facts['steps']} steps in {facts['seconds'] / 60:.1f} minutes on {facts['device']}, seed "
        f"{facts['config']['seed']}. {data['train_crops']} crops of {data['train_images']} images; held out: "
        f"{data['held_out_crops']} crops of {data['held_out_images']} other images, on the first few dozen of which "
        "the averaged weights gave:",
        "",
        *table(facts["curve"]),
        "",
        *_blend(facts),
        f"Settings: `{json.dumps(settings)}`",
        "",
    ]


def _blend(facts: Mapping[str, Any]) -> list[str]:
    if not facts.get("kept"):
        return []
    kept = facts["kept"]
    return [
        f"What is exported lies between these weights and those that it began with, of which it keeps {kept:.0%} "
        "(linear interpolation); the table is of these weights alone.",
        "",
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows as a Markdown table."""
    if not rows:
        return ["(nothing was logged)"]
    names = list(rows[0])
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_number(row.get(name)) for name in names) + " |" for row in rows]
    return lines


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _thinned(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(lines) <= _POINTS:
        return list(lines)
    return [lines[round(index * (len(lines) - 1) / (_POINTS - 1))] for index in range(_POINTS)]
