"""What each link of the fusion codec costs, and what its options bring, measured."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL.Image import fromarray
from rich.console import Console
from rich.table import Table

from rdbench.metrics import make_metric
from rdtrain.ablation.decoder import ABLATIONS, ablate

if TYPE_CHECKING:
    from rdcodecs.codec import Image
    from rdcodecs.fusion.codec import FusionCodec


def measure_ablations(
    codec: "FusionCodec",
    images: "Sequence[Image]",
    levels: Sequence[int],
    *,
    steps: int,
    metrics: Sequence[str],
    pictures: Path | None = None,
) -> pd.DataFrame:
    """Return the metrics of every link at every level, mean over the images.

    Args:
        codec: the codec.
        images: uint8, shape (H, W, 3), not trained on.
        levels: rate levels.
        steps: denoising steps.
        metrics: names.
        pictures: folder for the pictures of the first image.

    Returns:
        Columns level, bpp, link, images, and one per metric.
    """
    scored = [make_metric(name) for name in metrics]
    rows = []
    for level in levels:
        for number, image in enumerate(images):
            made, length = ablate(codec, image, level, steps)
            bpp = 8 * length / (image.shape[0] * image.shape[1])
            for link, picture in made.items():
                values = {metric.name: metric(image, picture) for metric in scored}
                rows.append({"level": level, "bpp": bpp, "link": link, **values})
                if pictures is not None and number == 0:
                    pictures.mkdir(parents=True, exist_ok=True)
                    fromarray(picture).save(pictures / f"{level}-{link.replace(', ', '-').replace(' ', '-')}.png")
    return _means(rows, "link", len(images), metrics)


def measure_variants(
    variants: "Iterable[tuple[str, FusionCodec]]",
    images: "Sequence[Image]",
    levels: Sequence[int],
    *,
    steps: int,
    metrics: Sequence[str],
) -> pd.DataFrame:
    """Return the metrics of codecs that differ in an option, from their streams, at every level.

    Args:
        variants: name and codec of each; taken one after another, so that a generator need not hold them all.
        images: uint8, shape (H, W, 3), not trained on.
        levels: rate levels.
        steps: denoising steps.
        metrics: names.

    Returns:
        Columns level, bpp, variant, images, and one per metric: means over the images.
    """
    scored = [make_metric(name) for name in metrics]
    rows = []
    for name, codec in variants:
        for level in levels:
            streams = [codec.encode(image, level) for image in images]
            pictures = codec.decode_batch(streams, steps=steps)
            for image, data, picture in zip(images, streams, pictures, strict=True):
                bpp = 8 * len(data) / (image.shape[0] * image.shape[1])
                values = {metric.name: metric(image, picture) for metric in scored}
                rows.append({"level": level, "bpp": bpp, "variant": name, **values})
    return _means(rows, "variant", len(images), metrics)


def _means(rows: Sequence[Mapping[str, Any]], what: str, images: int, metrics: Sequence[str]) -> pd.DataFrame:
    means = pd.DataFrame(rows).groupby(["level", what], sort=False).mean().reset_index()
    means = means.sort_values("level", kind="stable", ignore_index=True)
    means.insert(3, "images", images)
    return means[["level", "bpp", what, "images", *metrics]]


def print_means(table: pd.DataFrame, console: Console) -> None:
    """Print the table of `measure_ablations` or `measure_variants`, one block per level, and what each link is."""
    what = table.columns[2]
    metrics = list(table.columns[4:])
    for level, block in table.groupby("level"):
        shown = Table(title=f"level {level}, {block['images'].iloc[0]} images")
        shown.add_column(what)
        for name in ("bpp", *metrics):
            shown.add_column(name, justify="right")
        for row in block.to_dict("records"):
            shown.add_row(str(row[what]), *(f"{row[name]:.4f}" for name in ("bpp", *metrics)))
        console.print(shown)
    if what == "link":
        for link, meaning in ABLATIONS.items():
            console.print(f"{link}: {meaning}", markup=False, soft_wrap=True)
