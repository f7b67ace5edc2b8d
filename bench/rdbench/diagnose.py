"""What each link of the fusion codec costs, measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL.Image import fromarray
from rich.console import Console
from rich.table import Table

from rdbench.metrics import make_metric
from rdcodecs.fusion.links import LINKS, draw_links

if TYPE_CHECKING:
    from rdcodecs.codec import Image
    from rdcodecs.fusion.codec import FusionCodec


def measure_links(
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
        Columns level, bpp, link, images, and one a metric.
    """
    scored = [make_metric(name) for name in metrics]
    rows = []
    for level in levels:
        for number, image in enumerate(images):
            made, length = draw_links(codec, image, level, steps)
            bpp = 8 * length / (image.shape[0] * image.shape[1])
            for link, picture in made.items():
                values = {metric.name: metric(image, picture) for metric in scored}
                rows.append({"level": level, "bpp": bpp, "link": link, **values})
                if pictures is not None and number == 0:
                    pictures.mkdir(parents=True, exist_ok=True)
                    fromarray(picture).save(pictures / f"{level}-{link.replace(', ', '-').replace(' ', '-')}.png")
    table = pd.DataFrame(rows)
    means = table.groupby(["level", "link"], sort=False).mean().reset_index()
    means.insert(3, "images", len(images))
    return means[["level", "bpp", "link", "images", *metrics]]


def print_links(table: pd.DataFrame, console: Console) -> None:
    """Print the table of `measure_links`, a block a level, and what each link is."""
    metrics = list(table.columns[4:])
    for level, block in table.groupby("level"):
        shown = Table(title=f"level {level}: {block['bpp'].mean():.4f} bpp, {block['images'].iloc[0]} images")
        shown.add_column("link")
        for name in metrics:
            shown.add_column(name, justify="right")
        for row in block.to_dict("records"):
            shown.add_row(str(row["link"]), *(f"{row[name]:.4f}" for name in metrics))
        console.print(shown)
    for link, meaning in LINKS.items():
        console.print(f"{link}: {meaning}", markup=False, soft_wrap=True)
