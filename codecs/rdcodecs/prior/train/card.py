"""The model card, written from what the training logged and what was measured afterwards."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rdcodecs.prior.folder import read_json
from rdcodecs.prior.train.config import TrainConfig
from rdcodecs.training.settings import build_settings

RECORD = "training.json"
"""How the model was trained; in its folder."""
EVALUATION = "evaluation.json"
"""What was measured of it; in its folder."""
SHEET = "samples.webp"
CARD = "README.md"
_NOTES = "NOTES.md"
_POINTS = 12


def record_part(
    path: Path, part: str, log: Sequence[Mapping[str, Any]], *, config: Any, data: Mapping[str, Any], device: str
) -> None:
    """Record how a part was trained, beside the other part's record.

    Args:
        path: the record's file.
        part: "vae" or "unet".
        log: lines of its log.
        config: its settings (JSON-able).
        data: of the images.
        device: trained on.
    """
    record = read_json(path) if path.is_file() else {"parts": {}}
    held_out = [line for line in log if line["kind"] == "held_out"]
    record["parts"][part] = {
        "steps": max((line["step"] for line in log), default=0),
        "seconds": max((line["seconds"] for line in log), default=0.0),
        "device": device,
        "config": config,
        "data": dict(data),
        "curve": [_without_kind(line) for line in _thinned(held_out)],
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def recorded_config(folder: Path) -> TrainConfig:
    """Return the settings a model was trained with, or the defaults for a model of another origin."""
    path = folder / RECORD
    if not path.is_file():
        return TrainConfig()
    parts = read_json(path)["parts"]
    return build_settings(TrainConfig, next(iter(parts.values()))["config"], path)


def write_card(folder: Path) -> Path:
    """Write a model's card from the record of its training and the figures measured.

    What cannot be known from these, such as the licences of the images, is taken from ``NOTES.md`` in the
    folder where there is one.

    Args:
        folder: of the model.

    Returns:
        The card's path.
    """
    lines = ["# A tiny latent diffusion model", ""]
    lines += [
        "An `AutoencoderKL` (stride 8, 4 channels) and an unconditional `UNet2DConditionModel` in the format of "
        "diffusers: `rdcodecs.prior.load` reads it, and so does `from_pretrained` on `vae/` and `unet/`. "
        "fp16 safetensors; latents have mean 0 and standard deviation 1 on the training images.",
        "",
    ]
    notes = folder / _NOTES
    if notes.is_file():
        lines += [notes.read_text(encoding="utf-8").strip(), ""]
    if (folder / RECORD).is_file():
        for part, facts in read_json(folder / RECORD)["parts"].items():
            lines += _training(part, facts)
    if (folder / EVALUATION).is_file():
        lines += _measured(read_json(folder / EVALUATION))
    if (folder / SHEET).is_file():
        lines += [f"![Seeded samples: 10 DDIM steps above, 50 below]({SHEET})", ""]
    card = folder / CARD
    card.write_text("\n".join(lines), encoding="utf-8")
    return card


def _training(part: str, facts: Mapping[str, Any]) -> list[str]:
    data = facts["data"]
    title = {"vae": "Training the autoencoder", "unet": "Training the U-Net"}[part]
    lines = [
        f"## {title}",
        "",
        f"{facts['steps']} steps in {facts['seconds'] / 60:.1f} minutes on {facts['device']}, seed "
        f"{facts['config']['seed']}. {data['train_crops']} crops of {data['train_images']} images; held out: "
        f"{data['held_out_crops']} crops of {data['held_out_images']} other images, on which the averaged weights "
        "gave:",
        "",
    ]
    lines += _table(facts["curve"])
    settings = json.dumps(facts["config"]["autoencoder" if part == "vae" else "unet"])
    return [*lines, "", f"Settings: `{settings}`", ""]


def _measured(figures: Mapping[str, Any]) -> list[str]:
    lines = ["## Measured", ""]
    if "round_trip" in figures:
        trip = figures["round_trip"]
        lines += [
            f"Autoencoder round trip, mean of {trip['images']} images at full size ({trip['source']}):",
            "",
            *_table([trip["mean"]]),
            "",
            "Standard deviation of the latent channels on them: "
            + ", ".join(f"{value:.3f}" for value in trip["latent_std"])
            + ".",
            "",
        ]
    lines += [
        "Mean squared error of the predicted noise (variance 1) on held-out crops. The Wiener denoiser is the best "
        "linear shift-invariant one, from the latents' cross-spectral density:",
        "",
        *_table(figures["denoising"]),
        "",
    ]
    return lines


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
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


def _without_kind(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "kind"}
