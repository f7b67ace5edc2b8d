"""Pictures for the visual comparison: crops of originals and reconstructions at matched rates."""

import base64
import io
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image

from rdbench.cell import Cell
from rdbench.datasets import ImageError, Item, open_dataset
from rdbench.datasets.image_file import read_image
from rdbench.errors import BenchError
from rdbench.kept import RECONSTRUCTIONS, kept_reconstruction, reconstruction_path
from rdbench.layout import PROVENANCE, RECORDS
from rdbench.metrics.psnr import PSNR
from rdbench.provenance import read_provenance
from rdbench.record_writer import read_cells
from rdbench.records import curve_names
from rdbench.report.charts import main_curves, rate_names
from rdbench.report.numbers import plain
from rdbench.report.scenes import Match, crop_size, matched_rates, most_disputed, rmse
from rdbench.text import message
from rdcodecs import Image

_WIDTHS = (192, 352)
"""Least and largest width of a crop, in pixels; its height is three quarters of that."""
_SCENE_PIXELS = 900_000
"""How many pixels all pictures of a scene may have together: the more codecs, the smaller the crop."""
SCENES = 6
"""Most scenes that are shown."""
BUDGET = 5_000_000
"""Most bytes of all pictures together; base64 makes a third more of them."""
_READ = 12
"""Most images that are read to choose the scenes from."""
_MOST_CURVES = 12
_THUMBNAIL = 168
_LOUPE = (48, 64)
"""Height and width of what the page's loupe shows, in pixels."""
_SAME_DB = 0.02
"""A reconstruction whose PSNR is further from the one recorded is not the one that was measured."""


@dataclass(frozen=True)
class Shot:
    """One reconstruction's crop: its cell, the crop's RMSE in grey levels, and the picture as a WebP file."""

    curve: str
    cell: Cell
    crop_rmse: float
    webp: bytes = field(repr=False)


@dataclass(frozen=True)
class Scene:
    """A crop of one image, as it was and as codecs left it.

    Attributes:
        image: the image's name.
        size: its width and height.
        box: left, top, width and height of the crop.
        spot: where in the crop the codecs differ most, x and y in shares of its width and height.
        score: how far the codecs are apart there, in grey levels.
        thumbnail: the whole image, small, as a WebP file.
        original: the crop, as a WebP file without loss.
        levels: for each matched rate its target in bpp, and what the codecs made of it.
    """

    image: str
    size: tuple[int, int]
    box: tuple[int, int, int, int]
    spot: tuple[float, float]
    score: float
    thumbnail: bytes = field(repr=False)
    original: bytes = field(repr=False)
    levels: Sequence[tuple[float, Sequence[Shot]]] = ()

    @property
    def bytes(self) -> int:
        """How many bytes its pictures have."""
        shots = [shot for _, level in self.levels for shot in level]
        return len(self.thumbnail) + len(self.original) + sum(len(shot.webp) for shot in shots)


@dataclass(frozen=True)
class Gallery:
    """The scenes, the most disputed first; where there are none, `missing` says why and `remedy` what to run."""

    scenes: Sequence[Scene] = ()
    missing: str = ""
    remedy: str = ""
    notes: Sequence[str] = ()
    rate_names: Mapping[str, str] = field(default_factory=dict)

    def pictures(self) -> list[str]:
        """Return every picture as a data URI, in the order in which `described` numbers them."""
        return [f"data:image/webp;base64,{base64.b64encode(data).decode()}" for data in self._files()]

    def described(self) -> list[dict[str, Any]]:
        """Return the scenes for the page; a picture is its number in `pictures`."""
        number = iter(range(sum(1 for _ in self._files())))
        return [
            {
                "image": scene.image,
                "size": list(scene.size),
                "box": list(scene.box),
                "spot": list(scene.spot),
                "thumbnail": next(number),
                "original": next(number),
                "levels": [
                    {"bpp": bpp, "shots": [self._shot(shot, next(number)) for shot in shots]}
                    for bpp, shots in scene.levels
                ],
            }
            for scene in self.scenes
        ]

    def _files(self) -> Iterator[bytes]:
        for scene in self.scenes:
            yield scene.thumbnail
            yield scene.original
            for _, shots in scene.levels:
                yield from (shot.webp for shot in shots)

    def _shot(self, shot: Shot, picture: int) -> dict[str, Any]:
        return {
            "curve": shot.curve,
            "picture": picture,
            "rate": f"{self.rate_names.get(shot.cell.label, 'rate')} {shot.cell.rate:g}",
            "bytes": shot.cell.bytes,
            "bpp": _bpp(shot.cell),
            "crop_rmse": round(shot.crop_rmse, 3),
            "values": {name: plain([value])[0] for name, value in shot.cell.metrics.items()},
        }


def make_gallery(records: pd.DataFrame, folder: Path, experiment: Mapping[str, Any]) -> Gallery:
    """Choose scenes and cut their pictures out. Whatever is missing is said in the result; nothing is raised.

    Of each image the rates are those at which most codecs have a point within 25 % (`matched_rates`), and the
    crop is where at the lower of them the codecs' errors differ most (`most_disputed`). The images read are
    those on which the codecs' PSNR differs most, by the records.

    Args:
        records: rows as of records.csv.
        folder: the results folder.
        experiment: what was asked for, of provenance.json: tells the dataset.
    """
    name = str(experiment.get("name", ""))
    remedy = shlex.join(["rdbench", "run", name or "EXPERIMENT", "--keep", "--force"])
    if not (folder / RECONSTRUCTIONS).is_dir():
        return Gallery(missing="the run kept no reconstructions", remedy=remedy)
    try:
        kept = _kept(records, folder)
        if not kept:
            return Gallery(missing="none of the reconstructions belongs to these records", remedy=remedy)
        items = {item.name: item for item in open_dataset(str(experiment.get("dataset", ""))).items()}
    except (BenchError, OSError) as error:
        return Gallery(missing=f"the originals cannot be read: {message(error)}")
    matches = {image: matched_rates({c: [_bpp(x) for x in xs] for c, xs in of.items()}) for image, of in kept.items()}
    order = sorted((i for i in kept if i in items and matches[i]), key=lambda i: -_disagreement(kept[i], matches[i][0]))
    scenes, notes = [], []
    for image in order[:_READ]:
        try:
            scene, lines = _scene(items[image], kept[image], matches[image], folder)
        except (ImageError, OSError) as error:
            notes.append(message(error))
            continue
        notes += lines
        if scene is not None:
            scenes.append(scene)
    scenes.sort(key=lambda scene: (-scene.score, scene.image))
    chosen: list[Scene] = []
    for scene in scenes:
        if len(chosen) < SCENES and sum(each.bytes for each in chosen) + scene.bytes <= BUDGET:
            chosen.append(scene)
    if not chosen:
        return Gallery(missing="no reconstruction fits its record and its original", remedy=remedy, notes=notes)
    return Gallery(chosen, notes=notes, rate_names=rate_names(records))


_Kept = dict[str, list[Cell]]


def _kept(records: pd.DataFrame, folder: Path) -> dict[str, _Kept]:
    """Return image → curve → cells whose reconstruction lies in the folder."""
    shown = curve_names(records)
    if len(shown) > _MOST_CURVES:
        shown = [data.name for data in main_curves(records)][:_MOST_CURVES]
    kept: dict[str, _Kept] = {}
    provenance = read_provenance(folder / PROVENANCE)
    cells = [cell for cell in read_cells(folder / RECORDS, provenance) if cell.in_tables]
    by_curve: _Kept = {curve: [] for curve in shown}
    for curve, cell in zip(records["curve"].astype(object), cells, strict=True):
        if curve in by_curve and not cell.error and cell.bytes and cell.width and cell.height:
            by_curve[curve].append(cell)
    for curve, mine in by_curve.items():
        for cell in mine:
            if kept_reconstruction(folder, cell) is not None:
                kept.setdefault(cell.image, {}).setdefault(curve, []).append(cell)
    return kept


def _disagreement(curves: _Kept, match: Match) -> float:
    """Return the standard deviation of the matched points' PSNR; 0 where it is not known."""
    values = [curves[name][i].metrics.get("psnr", np.nan) for name, i in match.points.items()]
    finite = [value for value in values if np.isfinite(value)]
    return float(np.std(finite)) if finite else 0.0


def _scene(item: Item, curves: _Kept, matches: Sequence[Match], folder: Path) -> tuple[Scene | None, list[str]]:
    """Return the scene of one image, None where nothing of it can be shown, and what was left out of it.

    Raises:
        ImageError: the original cannot be read, or is another image than the one that was measured.
    """
    original = item.load()
    first = next(iter(curves.values()))[0]
    if first.image_hash and not item.digest().startswith(first.image_hash):
        raise ImageError(f"{item.name} is not the image that was measured: no pictures of it")
    notes: list[str] = []
    decoded: list[tuple[float, dict[str, Image]]] = []
    for match in matches:
        images = {}
        for curve in (curve for curve in curves if curve in match.points):
            cell = curves[curve][match.points[curve]]
            image = read_image(reconstruction_path(folder, cell))
            if _is_measured(original, image, cell):
                images[curve] = image
            else:
                notes.append(f"{item.name}, {curve}: the reconstruction kept is not the one that was measured")
        if images:
            decoded.append((match.bpp, images))
    if not decoded:
        return None, notes
    width = _crop_width(1 + sum(len(images) for _, images in decoded))
    height, width = crop_size(original.shape, (3 * width // 4, width))
    top, left, score = most_disputed(original, decoded[0][1].values(), (height, width))
    where = np.s_[top : top + height, left : left + width]
    loupe = crop_size((height, width), _LOUPE)
    y, x, _ = most_disputed(original[where], [image[where] for image in decoded[0][1].values()], loupe)
    by_rate = {match.bpp: match for match in matches}
    levels = []
    for bpp, images in decoded:
        shots = [
            Shot(
                curve,
                curves[curve][by_rate[bpp].points[curve]],
                rmse(original[where], image[where]),
                _webp(image[where]),
            )
            for curve, image in images.items()
        ]
        levels.append((bpp, shots))
    return Scene(
        image=item.name,
        size=(original.shape[1], original.shape[0]),
        box=(left, top, width, height),
        spot=(round((x + loupe[1] / 2) / width, 4), round((y + loupe[0] / 2) / height, 4)),
        score=score,
        thumbnail=_thumbnail(original),
        original=_webp(original[where]),
        levels=levels,
    ), notes


def _crop_width(pictures: int) -> int:
    """Return how wide the crops of a scene of so many pictures are: a multiple of eight."""
    least, most = _WIDTHS
    return min(most, max(least, int(math.sqrt(_SCENE_PIXELS / pictures * 4 / 3)) // 8 * 8))


def _is_measured(original: Image, image: Image, cell: Cell) -> bool:
    """Whether a reconstruction is the one that the record is of: a later run may have written over it."""
    if image.shape != original.shape:
        return False
    recorded = cell.metrics.get("psnr")
    if recorded is None:
        return True
    found = PSNR()(original, image)
    return found == recorded or abs(found - recorded) <= _SAME_DB


def _bpp(cell: Cell) -> float:
    return float(f"{8 * (cell.bytes or 0) / ((cell.width or 1) * (cell.height or 1)):.7g}")


def _webp(image: Image) -> bytes:
    """Return the picture as a WebP file without loss: what is compared are the codecs, not WebP."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(image)).save(buffer, "WEBP", lossless=True, quality=25, method=1)
    return buffer.getvalue()


def _thumbnail(image: Image) -> bytes:
    small = PIL.Image.fromarray(image)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()
