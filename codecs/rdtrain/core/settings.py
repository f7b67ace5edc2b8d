"""Settings of a training: frozen dataclasses of plain data, stored as JSON beside the training's states."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rdcodecs.reading import read_json
from rdtrain.core.errors import TrainingError

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class CommonSettings:
    """What the settings of every training have.

    Attributes:
        store: side of the crops that are kept in memory, in pixels.
        crops_per_image: at most so many crops of a large image are kept.
        held_out: share of the image files that is not trained on.
        seed: of weights, order, crops and noise.
        ema_gamma: exponent of the power-function average of the weights (Karras et al. 2024, section 3.1); 16.97
            gives a relative width of 0.05.
        warmup: steps over which the learning rate rises.
    """

    store: int = 256
    crops_per_image: int = 16
    held_out: float = 0.02
    seed: int = 0
    ema_gamma: float = 16.97
    warmup: int = 200


FILE = "config.json"
"""The settings, in a training's folder."""


def to_json(config: Any) -> str:
    """Return settings as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def settings_digest(config: Any) -> str:
    """Return a SHA-256 of settings."""
    return hashlib.sha256(to_json(config).encode()).hexdigest()


def read_settings(cls: type[_T], path: Path) -> _T:
    """Read settings; what the file leaves out takes its default.

    Args:
        cls: the dataclass; fields that are dataclasses themselves are read likewise.
        path: of the JSON file.

    Raises:
        TrainingError: it cannot be read, or names a setting that does not exist.
    """
    return build_settings(cls, read_json(path, TrainingError), path)


def build_settings(cls: type[_T], values: Mapping[str, Any], source: Path) -> _T:
    """Return settings from their JSON values; `source` is named in errors.

    Raises:
        TrainingError: a setting does not exist, or has a value that it cannot have.
    """
    kinds = get_type_hints(cls)
    known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    built: dict[str, Any] = {}
    if not isinstance(values, Mapping):
        raise TrainingError(f"'{source}' has {str(values)[:40]!r} where settings are wanted")
    for name, value in values.items():
        if name not in known:
            raise TrainingError(f"'{source}' has a setting '{name}' that does not exist")
        if dataclasses.is_dataclass(kinds[name]):
            built[name] = build_settings(kinds[name], value, source)
        else:
            # JSON has no tuples.
            built[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**built)
    except (ValueError, TypeError) as error:
        raise TrainingError(f"'{source}': {error}") from error


def change(config: _T, changes: Mapping[str, str]) -> _T:
    """Return settings with some of them changed.

    Args:
        config: those to start from.
        changes: setting → JSON value, e.g. ``{"autoencoder.batch": "16", "seed": "3"}``.

    Raises:
        TrainingError: no such setting, or a value of the wrong type or out of range.
    """
    values = json.loads(to_json(config))
    for name, text in changes.items():
        *way, last = name.split(".")
        place = values
        for key in way:
            place = place.get(key, {}) if isinstance(place, dict) else {}
        if not isinstance(place, dict) or last not in place or isinstance(place[last], dict):
            raise TrainingError(f"there is no setting '{name}': have {', '.join(_names(values))}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        kinds = (int, float) if isinstance(place[last], float) else type(place[last])
        if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(place[last], bool):
            raise TrainingError(f"the setting '{name}' is like {json.dumps(place[last])}, not '{text}'")
        place[last] = value
    return build_settings(type(config), values, Path("settings"))


def settle(out: Path, wanted: _T | None, default: _T, *, resume: bool) -> _T:
    """Return the settings of a training; `keep_settings` writes them once it begins.

    Args:
        out: the training's folder.
        wanted: the settings asked for; `None` takes those in the folder, or the default.
        default: of a training that has not begun.
        resume: whether the training may have begun already.

    Raises:
        TrainingError: it has begun and `resume` is off, or it was begun with other settings.
    """
    path = out / FILE
    if not path.is_file():
        return default if wanted is None else wanted
    if not resume:
        raise TrainingError(f"'{out}' holds a training already: say --resume to go on with it, or use another folder")
    config = read_settings(type(default), path)
    if wanted is not None and wanted != config:
        raise TrainingError(f"'{out}' was begun with other settings ({path}): leave them out to go on with it")
    return config


def keep_settings(out: Path, config: Any) -> None:
    """Write the settings of a training that begins into its folder; those of one that has begun are there already.

    Raises:
        TrainingError: another training has begun in it meanwhile.
    """
    path = out / FILE
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(config) + "\n", encoding="utf-8")
    elif read_settings(type(config), path) != config:
        raise TrainingError(f"another training has begun in '{out}' meanwhile: use another folder")


def _names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    names = []
    for key, value in values.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return names
