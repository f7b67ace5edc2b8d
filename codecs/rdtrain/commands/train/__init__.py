"""rdbench train: train the models that the diffusion codecs need."""

from typing import TYPE_CHECKING

from rdtrain.commands.train.arguments import add_fusion, add_perco, add_prior

if TYPE_CHECKING:
    from rdbench.commands import Commands

GROUP = "train"
"""The heading under which `rdbench --help` lists it."""


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser("train", help="train a model of the diffusion codecs from a folder of images")
    models = parser.add_subparsers(dest="model", metavar="MODEL", required=True)
    add_prior(models)
    add_fusion(models)
    add_perco(models)
