"""rdbench diagnose: where a codec loses quality, link by link."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rdbench.commands import Commands

_METRICS = ("psnr", "ms_ssim", "st_lpips_alex")


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser("diagnose", help="say where a diffusion codec loses quality, link by link")
    codecs = parser.add_subparsers(dest="model", metavar="CODEC", required=True)
    fusion = codecs.add_parser(
        "fusion",
        help="autoencoder, hyperprior, adapter, sampler, renormalization",
        description="Measure what each link of the fusion codec costs, on images that it was not trained on: those "
        "that `rdbench train` holds out of a folder. A table of PSNR, MS-SSIM and ST-LPIPS for each rate level.",
    )
    fusion.add_argument("--data", type=Path, required=True, help="the folder of images that it was trained on")
    fusion.add_argument("--images", type=int, default=16, help="so many of the images held out (16)")
    fusion.add_argument("--levels", type=int, nargs="+", default=[0, 2, 4, 6], help="rate levels (0 2 4 6)")
    fusion.add_argument("--steps", type=int, default=10, help="denoising steps (10)")
    fusion.add_argument("--prior", default="tiny", help="tiny (default), a diffusers folder or a hub id")
    fusion.add_argument("--weights", default="tiny", help="tiny (default), or a folder of weights")
    fusion.add_argument("--fusion", choices=("attentive", "additive"), default="attentive")
    fusion.add_argument("--out", type=Path, metavar="CSV", help="write the table there too")
    fusion.add_argument("--pictures", type=Path, metavar="DIR", help="write the pictures of the first image there")
    fusion.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure and print."""
    from rdbench.commands.train.shared import read_folder
    from rdbench.diagnose import measure_links, print_links
    from rdcodecs.fusion.codec import FusionCodec
    from rdcodecs.hyperprior.train.config import HyperpriorTrainConfig

    console = Console(stderr=True, highlight=False)
    codec = FusionCodec(prior=options.prior, weights=options.weights, fusion=options.fusion)
    codec.check()
    crops = read_folder(options.data, HyperpriorTrainConfig(), console)
    table = measure_links(
        codec,
        list(crops.held_out[: options.images].numpy()),
        options.levels,
        steps=options.steps,
        metrics=_METRICS,
        pictures=options.pictures,
    )
    if options.out is not None:
        table.to_csv(options.out, index=False, float_format="%.6g")
    print_links(table, Console(highlight=False))
    return 0
