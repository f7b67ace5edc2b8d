"""rdbench train fusion: the fusion codec, in three stages."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rdtrain.commands.train.options import (
    add_budget,
    add_run,
    add_settings,
    make_budget,
    make_console,
    make_run,
    read_folder,
    say_outcome,
    training_settings,
)
from rdtrain.commands.train.prior import perceptual_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from rdbench.commands import Commands
    from rdcodecs.hyperprior.config import HyperpriorConfig
    from rdtrain.fusion.enhancement import Enhancement
    from rdtrain.hyperprior.settings import HyperpriorTrainConfig


def add_parser(models: "Commands") -> None:
    """Declare the command."""
    fusion = models.add_parser(
        "fusion",
        help="the fusion codec: stage 1 (encoder, entropy model), 2 (adapter and fusion for a prior), 3 (enhancer)",
        description="Stage 1 trains encoder, entropy model and auxiliary decoder, with a diffusion model only where "
        "--prior names one. Stage 2 trains adapter and fusion for a frozen prior. Stage 3 trains the enhancer, which "
        "corrects what the codec draws. Each writes its part of OUT/model, which the codecs hyperprior and fusion take "
        "as 'weights'. Stop it whenever you like: --resume goes on from the exact step.",
    )
    fusion.add_argument("--stage", type=int, choices=(1, 2, 3), required=True, help="what to train")
    fusion.add_argument("--data", type=Path, required=True, help="folder of images, searched with its subfolders")
    fusion.add_argument("--out", type=Path, required=True, help="folder for states, logs, pictures and the model")
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
    add_budget(fusion)
    add_settings(fusion, "tiny (default), micro", "batch=16")
    fusion.add_argument(
        "--perceptual",
        choices=("alex", "vgg", "none"),
        default="none",
        help="ST-LPIPS backbone of the loss on pictures; stage 2: its weight is --set pictures.weight=1; stage 1: of "
        "sketches; stage 3: of what it makes (none)",
    )
    add_run(fusion)
    fusion.add_argument("--compile", action="store_true", help="stage 1: compile the networks; worth it on a GPU")
    fusion.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Train; 130 where a signal ended it (everything is saved)."""
    console = make_console()
    _check_stage(options)
    session = {1: _first, 2: _second, 3: _third}[options.stage](options, console)
    if options.export:
        session.export()
        return 0
    return say_outcome(f"stage {options.stage}", session.train(make_budget(options)), console)


def _check_stage(options: argparse.Namespace) -> None:
    """Refuse what the stage does not take: a training for another model than was meant takes hours."""
    from rdtrain.core.errors import TrainingError

    taken = {"hyperprior": (2,), "fusion": (2,), "weights": (3,), "enhancer": (1, 2)}
    for name, stages in taken.items():
        if getattr(options, name) and options.stage not in stages:
            wanted = " or ".join(map(str, stages))
            raise TrainingError(f"--{name} is for stage {wanted}: leave it out of stage {options.stage}")


def _first(options: argparse.Namespace, console: "Console") -> Any:
    from rdcodecs.hyperprior.codec import FOLDER
    from rdcodecs.shipped import shipped_or_folder
    from rdtrain.core.errors import TrainingError
    from rdtrain.hyperprior.session import HyperpriorSession
    from rdtrain.hyperprior.settings import PRESETS

    run = make_run(options, console, compiled=options.compile)
    if options.perceptual != "none" and not options.prior:
        raise TrainingError("--perceptual judges sketches in stage 1: name their --prior too, or leave it out")
    if options.enhancer and not options.prior:
        raise TrainingError("--enhancer changes sketches in stage 1: name their --prior too, or leave it out")
    prior = _frozen(options.prior, run) if options.prior else None
    start = shipped_or_folder(options.init) / FOLDER if options.init else None
    sketch = {"model.sketch_channels": str(prior.channels), "model.sketch_stride": str(prior.stride)} if prior else {}
    config = training_settings(options, PRESETS, sketch, console, _grown_to(start) if start else None)
    enhancement = _enhancement(options, prior, config.model)
    if enhancement is not None and enhancement.sees_latents and start is None:
        raise TrainingError(
            "--enhancer names one that sees decoded latents, of its own hyperprior: begin with that, by --init, or "
            "name an enhancer that sees pictures alone (shape.coarse=0)"
        )
    crops = read_folder(options.data, config, console)
    perceptual = perceptual_loss(options.perceptual, run.device) if prior else None
    return HyperpriorSession(options.out, config, crops, run, start, prior, perceptual, enhancement)


def _grown_to(start: Path) -> "Callable[[HyperpriorTrainConfig], HyperpriorTrainConfig]":
    """Return what gives settings the parts that a model has and they do not ask for; what they ask for stays."""
    from rdcodecs.hyperprior.config import HyperpriorConfig
    from rdcodecs.hyperprior.weights import read_hyperprior_config

    has = read_hyperprior_config(start)

    def grow(config: "HyperpriorTrainConfig") -> "HyperpriorTrainConfig":
        width = config.model.context_width or has.context_width
        blocks = max(config.model.sketch_blocks, has.sketch_blocks)
        named = config.model.rounding_offset
        offset = has.rounding_offset if named == HyperpriorConfig.rounding_offset else named
        model = replace(config.model, context_width=width, sketch_blocks=blocks, rounding_offset=offset)
        return replace(config, model=model)

    return grow


def _second(options: argparse.Namespace, console: "Console") -> Any:
    from rdcodecs.fusion.codec import FOLDER as CONTROLS
    from rdcodecs.hyperprior.codec import FOLDER
    from rdcodecs.hyperprior.weights import load_hyperprior
    from rdcodecs.shipped import TINY, shipped_or_folder
    from rdtrain.fusion.session import FusionSession
    from rdtrain.fusion.settings import PRESETS

    run = make_run(options, console)
    config = training_settings(options, PRESETS, {"shape.kind": options.fusion} if options.fusion else {}, console)
    hyperprior = load_hyperprior(shipped_or_folder(options.hyperprior or TINY) / FOLDER, run.device)
    prior = _frozen(options.prior or TINY, run)
    enhancement = _enhancement(options, prior, hyperprior.config)
    perceptual = perceptual_loss(options.perceptual, run.device)
    crops = read_folder(options.data, config, console)
    start = shipped_or_folder(options.init) / CONTROLS / config.shape.kind if options.init else None
    return FusionSession(options.out, config, crops, prior, hyperprior, run, perceptual, start, enhancement)


def _third(options: argparse.Namespace, console: "Console") -> Any:
    from rdcodecs.fusion.codec import FOLDER as CONTROLS
    from rdcodecs.fusion.weights import ENHANCER
    from rdcodecs.hyperprior.codec import FOLDER
    from rdcodecs.hyperprior.weights import load_hyperprior
    from rdcodecs.shipped import TINY, shipped_or_folder
    from rdtrain.fusion.enhancer import PRESETS
    from rdtrain.fusion.enhancer_session import EnhancerSession, read_controls

    run = make_run(options, console)
    config = training_settings(options, PRESETS, {}, console)
    weights = shipped_or_folder(options.weights or TINY)
    hyperprior = load_hyperprior(weights / FOLDER, run.device)
    prior = _frozen(options.prior or TINY, run)
    controls = read_controls(weights, prior, hyperprior)
    perceptual = perceptual_loss(options.perceptual, run.device)
    crops = read_folder(options.data, config, console)
    start = shipped_or_folder(options.init) / CONTROLS / ENHANCER if options.init else None
    return EnhancerSession(
        options.out, config, crops, prior, hyperprior, weights, controls, run, perceptual=perceptual, start=start
    )


def _enhancement(options: argparse.Namespace, prior: Any, hyperprior: "HyperpriorConfig") -> "Enhancement | None":
    from rdcodecs.fusion.codec import FOLDER
    from rdcodecs.fusion.weights import ENHANCER
    from rdcodecs.shipped import shipped_or_folder
    from rdtrain.fusion.enhancement import read_enhancement

    if not options.enhancer:
        return None
    return read_enhancement(shipped_or_folder(options.enhancer) / FOLDER / ENHANCER, prior, hyperprior)


def _frozen(name: str, run: Any) -> Any:
    import torch

    from rdcodecs.prior import load

    # In single precision also on a GPU: what has a gradient through it runs under autocast.
    return load(name, dtype=torch.float32, device=run.device)
