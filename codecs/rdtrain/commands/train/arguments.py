"""What `rdbench train` can be told, for each model; nothing that trains is imported before a command is carried out."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdbench.commands import Commands

_PARTS = ("vae", "unet", "all")


def add_prior(models: "Commands") -> None:
    """Declare `rdbench train prior`."""
    prior = models.add_parser(
        "prior",
        help="the tiny latent diffusion model",
        description="Train an autoencoder and a U-Net from any folder of images, and write them as a folder that "
        "diffusers loads (OUT/model). Stop it whenever you like: --resume goes on from the exact step.",
    )
    prior.add_argument("--data", type=Path, required=True, help="folder of images, searched with its subfolders")
    place = prior.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, help="folder for states, logs, pictures and the model")
    place.add_argument("--evaluate", type=Path, metavar="DIR", help="measure this model, write its model card")
    prior.add_argument("--images", type=Path, help="with --evaluate: folder of test images, e.g. Kodak")
    prior.add_argument("--part", choices=_PARTS, default="all", help="what to train (default: all)")
    _add_budget(prior)
    prior.add_argument("--vae-share", type=float, default=0.6, help="the autoencoder's share of --minutes (0.6)")
    prior.add_argument("--init", help="begin with this model: tiny, a diffusers folder or a hub id")
    _add_settings(prior, "tiny (default), cpu, micro", "autoencoder.batch=16")
    prior.add_argument(
        "--sketches",
        metavar="DIR",
        help="let the decoder learn from sketches of this hyperprior too (tiny, or the OUT/model of a training with "
        "--stage 1); needs --init and --set autoencoder.freeze_encoder=true",
    )
    prior.add_argument(
        "--keep",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="blend the exported decoder with the one that --init names: share of the latter's weights, 0 to 1 (0); "
        "also with --export",
    )
    prior.add_argument("--perceptual", choices=("alex", "vgg", "none"), default="alex", help="ST-LPIPS backbone")
    _add_run(prior)
    prior.add_argument("--compile", action="store_true", help="compile the networks; worth it on a GPU")
    prior.set_defaults(execute=_execute)


def add_fusion(models: "Commands") -> None:
    """Declare `rdbench train fusion`."""
    fusion = models.add_parser(
        "fusion",
        help="the fusion codec: stage 1 (encoder, entropy model), 2 (adapter and fusion for a prior), 3 (enhancer)",
        description="Stage 1 trains encoder, entropy model and auxiliary decoder, with a diffusion model only where "
        "--prior names one. Stage 2 trains adapter and fusion for a frozen prior. Stage 3 trains the enhancer, which "
        "corrects what the codec draws. Each writes its part of OUT/model, which the codecs hyperprior and fusion take "
        "as 'weights'. Stop it whenever you like: --resume goes on from the exact step.",
    )
    fusion.add_argument("--stage", type=int, choices=(1, 2, 3), required=True, help="what to train")
    _add_folders(fusion)
    fusion.add_argument(
        "--prior",
        help="a diffusers folder, a hub id, or tiny (default of stages 2 and 3); with stage 1 a decoder of sketches "
        "for this prior is trained besides",
    )
    fusion.add_argument("--hyperprior", metavar="DIR", help="stage 2: tiny (default) or the OUT/model of a stage 1")
    fusion.add_argument("--weights", metavar="DIR", help="stage 3: tiny (default) or the OUT/model of a stage 2")
    fusion.add_argument(
        "--enhancer",
        metavar="DIR",
        help="stage 1 with --prior, stage 2 with pictures.weight and renormalized above 0: judge pictures as this "
        "enhancer leaves them, which does not move: tiny or the OUT/model of a stage 3, to be trained anew afterwards",
    )
    fusion.add_argument("--fusion", choices=("attentive", "additive"), help="stage 2: kind (attentive)")
    fusion.add_argument("--init", metavar="DIR", help="begin with this model: tiny or the OUT/model of a training")
    _add_budget(fusion)
    _add_settings(fusion, "tiny (default), micro", "batch=16")
    fusion.add_argument(
        "--perceptual",
        choices=("alex", "vgg", "none"),
        default="none",
        help="ST-LPIPS backbone of the loss on pictures; stage 2: its weight is --set pictures.weight=1; stage 1: of "
        "sketches; stage 3: of what it makes (none)",
    )
    _add_run(fusion)
    fusion.add_argument("--compile", action="store_true", help="stage 1: compile the networks; worth it on a GPU")
    fusion.set_defaults(execute=_execute)


def add_perco(models: "Commands") -> None:
    """Declare `rdbench train perco`."""
    perco = models.add_parser(
        "perco",
        help="PerCo: hyper-encoders, codebooks, and the whole U-Net of a prior",
        description="Fine-tune a latent diffusion model to draw from vector-quantised latents, at several rate points "
        "at once. OUT/model is what the codec perco takes as 'model'; OUT/model/perco is what is new in it. Stop it "
        "whenever you like: --resume goes on from the exact step.",
    )
    _add_folders(perco)
    perco.add_argument("--prior", default="tiny", help="what to begin from: tiny (default), a folder or a hub id")
    perco.add_argument("--init", metavar="DIR", help="begin with this PerCo: tiny or the OUT/model of a training")
    _add_budget(perco)
    _add_settings(perco, "tiny (default), micro", "batch=16")
    perco.add_argument(
        "--perceptual",
        choices=("alex", "vgg", "none"),
        default="none",
        help="ST-LPIPS backbone of the loss on pictures; its weight: --set pictures.weight=1 (none)",
    )
    _add_run(perco)
    perco.set_defaults(execute=_execute)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    """Declare what is trained on, and where the training lies."""
    parser.add_argument("--data", type=Path, required=True, help="folder of images, searched with its subfolders")
    parser.add_argument("--out", type=Path, required=True, help="folder for states, logs, pictures and the model")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """Declare how long to train."""
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, default=180.0, help="time over all runs together (default: %(default)g)"
    )
    budget.add_argument("--steps", type=int, help="number of steps instead of a time; it makes a training exact")
    parser.add_argument("--pause-after", type=float, metavar="MIN", help="end this run after so many minutes")


def _add_settings(parser: argparse.ArgumentParser, presets: str, example: str) -> None:
    """Declare what is trained and how."""
    parser.add_argument("--resume", action="store_true", help="go on with the training in OUT")
    parser.add_argument("--export", action="store_true", help="train nothing, write the model of the last state")
    parser.add_argument("--preset", help=f"settings: {presets}, or a JSON file like OUT/config.json")
    parser.add_argument("--seed", type=int, help="of weights, order, crops and noise (default: 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help=f"change a setting, e.g. {example}"
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Declare where it runs, and how often something is written."""
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 ...")
    parser.add_argument("--save-minutes", type=float, default=5, help="between states (5)")
    parser.add_argument("--look-minutes", type=float, default=5, help="between evaluations with pictures (5)")
    parser.add_argument("--log-steps", type=int, default=50, help="steps averaged to a line of the log (50)")
    parser.add_argument("--shard-mib", type=float, default=512, help="largest file of a state, in MiB (512)")


def _execute(options: argparse.Namespace) -> int:
    """Train; 130 where a signal ended it (everything is saved)."""
    from rdtrain.commands.train import fusion, perco, prior

    models = {"fusion": fusion.execute, "perco": perco.execute, "prior": prior.execute}
    return models[str(options.model)](options)
