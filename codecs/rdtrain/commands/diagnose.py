"""rdbench diagnose: where a codec loses quality, link by link, and what its options bring."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rdbench.errors import BenchError

if TYPE_CHECKING:
    from rdbench.commands import Commands

_METRICS = ("psnr", "ms_ssim", "st_lpips_alex")
_VARIED = ("span", "window", "renormalize", "start")

GROUP = "train"
"""The heading under which `rdbench --help` lists it."""


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "diagnose", help="say where a diffusion codec loses quality, link by link, or compare values of an option"
    )
    codecs = parser.add_subparsers(dest="model", metavar="CODEC", required=True)
    fusion = codecs.add_parser(
        "fusion",
        help="autoencoder, hyperprior, sketch, adapter, sampler, renormalization, enhancer",
        description="Measure what each link of the fusion codec costs, on images that it was not trained on: those "
        "that `rdbench train` holds out of a folder. A table of metrics for each rate level. With --vary the table "
        "has the values of one of the codec's options instead: choose it here, not on the images that you report.",
    )
    fusion.add_argument("--data", type=Path, required=True, help="the folder of images that it was trained on")
    fusion.add_argument("--images", type=int, default=16, help="so many of the images held out (16)")
    fusion.add_argument("--levels", type=int, nargs="+", default=[0, 2, 4, 6], help="rate levels (0 2 4 6)")
    fusion.add_argument("--steps", type=int, default=10, help="denoising steps (10)")
    fusion.add_argument("--prior", default="tiny", help="tiny (default), a diffusers folder or a hub id")
    fusion.add_argument("--weights", default="tiny", help="tiny (default), or a folder of weights")
    fusion.add_argument("--fusion", choices=("attentive", "additive"), default="attentive")
    fusion.add_argument(
        "--vary", metavar="OPTION=A,B,...", help="compare values of an option, e.g. span=1,0.5,0.3 or window=5,9,21"
    )
    fusion.add_argument(
        "--metrics", nargs="+", default=list(_METRICS), metavar="NAME", help=f"what to measure ({' '.join(_METRICS)})"
    )
    fusion.add_argument("--out", type=Path, metavar="CSV", help="write the table there too")
    fusion.add_argument("--pictures", type=Path, metavar="DIR", help="write the pictures of the first image there")
    fusion.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Measure and print."""
    from rdbench.metrics import make_metric
    from rdbench.tables import write_table
    from rdcodecs.fusion.codec import FusionCodec
    from rdtrain.ablation.measure import measure_ablations, measure_variants, print_means
    from rdtrain.commands.images import read_folder
    from rdtrain.hyperprior.settings import HyperpriorTrainConfig

    console = Console(stderr=True, highlight=False)
    for name in options.metrics:
        make_metric(name)  # before anything takes time
    common = {"prior": options.prior, "weights": options.weights, "fusion": options.fusion}
    varied = _variants(options.vary) if options.vary else {}
    if varied and options.pictures:
        raise BenchError("--pictures writes the pictures of links: leave it out with --vary")
    for changes in varied.values():
        FusionCodec(**{**common, **changes})  # reads nothing yet, but refuses what does not exist
    codec = FusionCodec(**common)
    codec.check()
    crops = read_folder(options.data, HyperpriorTrainConfig(), console)
    images = list(crops.held_out[: options.images].numpy())
    how = {"steps": options.steps, "metrics": options.metrics}
    if varied:
        codecs = ((name, FusionCodec(**{**common, **changes})) for name, changes in varied.items())
        table = measure_variants(codecs, images, options.levels, **how)
    else:
        table = measure_ablations(codec, images, options.levels, pictures=options.pictures, **how)
    if options.out is not None:
        write_table(options.out, table)
    print_means(table, Console(highlight=False))
    return 0


def _variants(text: str) -> dict[str, dict[str, Any]]:
    """Return the codec's options by name, e.g. of "span=1,0.5"."""
    option, sign, values = text.partition("=")
    if option not in _VARIED or not sign or not all(values.split(",")):
        raise BenchError(f"--vary {text}: write OPTION=A,B,... with an option of {', '.join(_VARIED)}")
    return {f"{option} {value}": {option: _value(value)} for value in values.split(",")}


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
