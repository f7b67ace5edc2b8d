"""rdbench run: measure what is missing, write the results folder."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rdbench.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from rdbench.commands import Commands
    from rdbench.experiment import CodecEntry, Experiment

EXPERIMENTS = Path("bench/experiments")
RESULTS = Path("results")


def add_parser(commands: "Commands") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "run",
        help="measure an experiment",
        description="Measure what an experiment asks for and is not known yet. Stop it whenever you like: a second "
        "run goes on where the first one was.",
    )
    parser.add_argument("experiment", help="a YAML file, or the name of one in bench/experiments")
    parser.add_argument("--dataset", help="use these images instead of the experiment's")
    parser.add_argument(
        "--codec",
        action="append",
        default=[],
        metavar="CODEC",
        help="only this codec (name or label); one that the experiment lacks is added, also path/to/file.py:Class",
    )
    parser.add_argument("--rates", help="rate points of the codecs named with --codec, e.g. 22,27,32")
    parser.add_argument("--out", type=Path, help="results folder (default: results/NAME)")
    parser.add_argument("--workers", type=_positive, help="worker processes (default: one per processor)")
    parser.add_argument("--threads", type=_positive, default=1, help="threads in each worker (default: 1)")
    parser.add_argument(
        "--memory", type=_size, help="memory that one process of a codec may use with its children, e.g. 4GiB"
    )
    parser.add_argument(
        "--no-verify",
        action="store_true",
        help="do not decode one bitstream of each codec a second time to see whether the same image comes out",
    )
    parser.add_argument("--limit", type=_positive, help="only the first N images")
    parser.add_argument("--keep", action="store_true", help="keep bitstreams and reconstructions")
    parser.add_argument("--force", action="store_true", help="measure again what has been measured")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Run; 3 where cells failed, 130 where Ctrl-C ended it."""
    from rdbench.experiment import load_experiment
    from rdbench.run import run

    experiment = select(load_experiment(find_experiment(options.experiment)), options)
    result = run(
        experiment,
        options.out or RESULTS / experiment.name,
        workers=options.workers,
        threads=options.threads,
        keep=options.keep,
        force=options.force,
        memory=options.memory,
    )
    if result.interrupted:
        return 130
    return 3 if result.failed else 0


def find_experiment(name: str) -> Path:
    """Return the experiment file that `name` means: a path, or a name in bench/experiments.

    Raises:
        BenchError: there is no such experiment.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    if not EXPERIMENTS.is_dir():
        raise BenchError(
            f"no folder {EXPERIMENTS} here to find '{name}' in: give a YAML file, or run in the repository's root"
        )
    known = [each.stem for each in EXPERIMENTS.glob("*.yaml")]
    if name not in known:
        raise BenchError(did_you_mean("experiment", name, known))
    return EXPERIMENTS / f"{name}.yaml"


def select(experiment: "Experiment", options: argparse.Namespace) -> "Experiment":
    """Apply the command line's choices to an experiment.

    Raises:
        BenchError: a codec that neither the experiment nor the registry has, or rates that are no numbers.
    """
    from rdbench.experiment import resolve

    changes: dict[str, object] = {}
    if options.dataset:
        changes["dataset"] = options.dataset
    if options.limit:
        changes["limit"] = options.limit
    if options.no_verify:
        changes["verify"] = False
    if options.rates and not options.codec:
        raise BenchError("--rates needs --codec: name the codec that these rates are for")
    if options.codec:
        chosen = [entry for name in options.codec for entry in _entries(experiment, name, options.rates)]
        changes["codecs"] = list({entry.label or entry.codec: entry for entry in chosen}.values())
        # The anchor's rows are in the records already, even where it does not run this time.
    selected = experiment.model_copy(update=changes)
    resolved = resolve(selected.model_copy(update={"anchor": None}))
    return resolved.model_copy(update={"anchor": selected.anchor})


def _entries(experiment: "Experiment", name: str, rates: str | None) -> "list[CodecEntry]":
    from rdbench.experiment import CodecEntry, parse_rates

    points = parse_rates(rates) if rates else []
    here = [entry for entry in experiment.codecs if name in (entry.label, entry.codec)]
    if here:
        return [entry.model_copy(update={"rates": points or entry.rates}) for entry in here]
    # The label is the codec's own name, once that is known.
    return [CodecEntry(codec=name, rates=points)]


def _positive(text: str) -> int:
    from rdbench.strict_yaml import parse_number

    try:
        number = parse_number(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not isinstance(number, int) or number < 1:
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return number


def _size(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    size = float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ") if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not an amount of memory: give one like 4GiB or 500MiB")
    return int(size)
