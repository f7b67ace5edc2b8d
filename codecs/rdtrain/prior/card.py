"""The prior's model card, written from what its two trainings logged and what was measured afterwards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rdcodecs.prior.folder import read_json
from rdcodecs.reading import telling_damage
from rdtrain.core.record import CARD, RECORD, notes, table, training_section
from rdtrain.core.settings import build_settings
from rdtrain.prior.settings import TrainConfig

EVALUATION = "evaluation.json"
"""What was measured of it; in its folder."""
SHEET = "samples.webp"

_PARTS = {
    "vae": ("Training the autoencoder", "autoencoder"),
    "decoder": ("Going on with its decoder alone", "autoencoder"),
    "unet": ("Training the U-Net", "unet"),
}
"""Part → title of its section, and the name of its settings."""


def record_part(path: Path, part: str, facts: Mapping[str, Any]) -> None:
    """Record how a part was trained, beside the other part's record.

    Args:
        path: the record's file.
        part: "vae", "unet", "decoder" (the autoencoder's decoder alone), or of `next_part`.
        facts: of `training_record`.
    """
    record = {**read_json(path), "parts": _parts(path)} if path.is_file() else {"parts": {}}
    record["parts"][part] = dict(facts)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def next_part(part: str, start: Path | None) -> str:
    """Return the name of a part's training that goes on from a model, with a number where it has had one: "vae 2".

    Args:
        part: "vae", "unet" or "decoder".
        start: the model that it begins with.
    """
    path = start / RECORD if start is not None else None
    parts = _parts(path) if path is not None and path.is_file() else {}
    before = sum(name.partition(" ")[0] == part for name in parts)
    return f"{part} {before + 1}" if before else part


def recorded_config(folder: Path) -> TrainConfig:
    """Return the settings a model was trained with, or the defaults for a model of another origin."""
    path = folder / RECORD
    if not path.is_file():
        return TrainConfig()
    with telling_damage(path):
        config = next(iter(_parts(path).values()))["config"]
    return build_settings(TrainConfig, config, path)


def _parts(path: Path) -> dict[str, Any]:
    """Return the trainings of a record by part.

    Raises:
        CodecError: the record is damaged.
    """
    with telling_damage(path):
        parts = read_json(path)["parts"]
        if not isinstance(parts, dict) or not all(isinstance(facts, dict) for facts in parts.values()):
            raise ValueError("its parts are no trainings")
        return parts


def write_card(folder: Path) -> Path:
    """Write a model's card from the record of its training and the figures measured.

    Args:
        folder: of the model.

    Returns:
        The card's path.
    """
    lines = ["# A tiny latent diffusion model", ""]
    autoencoder = read_json(folder / "vae" / "config.json").get("_class_name", "autoencoder")
    lines += [
        f"An `{autoencoder}` (stride 8, 4 channels) and an unconditional `UNet2DConditionModel` in the format of "
        "diffusers: `rdcodecs.prior.load` reads it, and so does `from_pretrained` on `vae/` and `unet/`. "
        "fp16 safetensors; each latent channel has standard deviation 1 on the training images.",
        "",
        *notes(folder),
    ]
    if (folder / RECORD).is_file():
        for part, facts in _parts(folder / RECORD).items():
            name, _, number = part.partition(" ")
            with telling_damage(folder / RECORD):
                title, settings = _PARTS[name]
                lines += training_section(f"{title}, {number}" if number else title, facts, facts["config"][settings])
    if (folder / EVALUATION).is_file():
        with telling_damage(folder / EVALUATION):
            lines += _measured(read_json(folder / EVALUATION))
    if (folder / SHEET).is_file():
        lines += [f"![Seeded samples: 10 DDIM steps above, 50 below]({SHEET})", ""]
    card = folder / CARD
    card.write_text("\n".join(lines), encoding="utf-8")
    return card


def _measured(figures: Mapping[str, Any]) -> list[str]:
    lines = ["## Measured", ""]
    if "round_trip" in figures:
        trip = figures["round_trip"]
        lines += [
            f"Autoencoder round trip, mean of {trip['images']} images at full size ({trip['source']}):",
            "",
            *table([trip["mean"]]),
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
        *table(figures["denoising"]),
        "",
    ]
    return lines
