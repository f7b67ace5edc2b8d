"""Plan: an experiment and its images become tasks, less what the ledger already knows."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rdbench.available import ReadyCodec, available_entries, available_metrics
from rdbench.cell import Cell
from rdbench.datasets import ImageError, Item
from rdbench.experiment import Experiment
from rdbench.files import absolute, absolute_codec
from rdbench.keys import cell_key, digest, encode_key
from rdbench.measure import Task
from rdbench.selection import HASH_DIGITS


@dataclass
class Plan:
    """What a run will do.

    Attributes:
        tasks: what is still to be measured, all of one image together.
        planned: every cell of the experiment whose codec can run; two labels may share a key.
        known: number of distinct cells that need no measuring.
        codecs: the codecs that can run, by label.
        metrics: the metrics that can be computed, name → fingerprint.
        missing: one line for each codec and metric that cannot.
        images: number of images.
        image_digests: the images' names → their digests.
        digest: digest of everything but the ledger that decides what is written.
    """

    tasks: list[Task] = field(default_factory=list)
    planned: list[Cell] = field(default_factory=list)
    known: int = 0
    codecs: dict[str, ReadyCodec] = field(default_factory=dict)
    metrics: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    images: int = 0
    image_digests: dict[str, str] = field(default_factory=dict)
    digest: str = ""

    @property
    def image_names(self) -> dict[str, str]:
        """The images' names by their digests, as cells have these."""
        return {image[:HASH_DIGITS]: name for name, image in self.image_digests.items()}

    @property
    def metric_digests(self) -> dict[str, str]:
        """Digests of the metrics' fingerprints, by name."""
        return {name: digest(fingerprint) for name, fingerprint in self.metrics.items()}


def make_plan(
    experiment: Experiment,
    dataset: str,
    items: Sequence[Item],
    known: Mapping[str, Cell],
    *,
    keep: Path | None = None,
    force: bool = False,
    memory: int | None = None,
) -> Plan:
    """Work out what is to be measured.

    Args:
        experiment: a validated experiment.
        dataset: the dataset's name, for the records.
        items: its images.
        known: the ledger's cells by key.
        keep: folder for bitstreams and reconstructions, or None.
        force: measure everything, known or not.
        memory: bytes that a codec's process may use with its children; None for no limit.
    """
    plan = Plan()
    items, images, lines = _distinct(items)
    plan.missing += lines
    plan.images = len(items)
    plan.image_digests = {item.name: image for item, image in zip(items, images, strict=True)}
    plan.metrics, lines = available_metrics(experiment.metrics)
    plan.missing += lines
    plan.codecs, lines = available_entries(experiment.codecs, limit_s=experiment.timeout)
    plan.missing += lines
    metric_digests = plan.metric_digests
    by_stream = _by_stream(known.values()) if keep else {}
    for item, image in zip(items, images, strict=True):
        for group in _bitstreams(plan.codecs.values(), dataset, item, image):
            plan.planned += group
            wanted = group if force else [c for c in group if not _is_known(known.get(c.key), metric_digests)]
            # Two labels may ask for the very same cell; it is measured once.
            wanted = list({cell.key: cell for cell in wanted}.values())
            if not wanted:
                continue
            ready = plan.codecs[wanted[0].label]
            kept = None if force else by_stream.get(wanted[0].encode_key)
            plan.tasks.append(
                Task(
                    item=item,
                    codec=absolute_codec(ready.entry.codec),
                    image_digest=image,
                    cells=tuple(wanted),
                    metrics=metric_digests,
                    time_limit=experiment.timeout,
                    fingerprint=ready.fingerprint,
                    metric_fingerprints=plan.metrics,
                    costly=ready.costly,
                    memory=memory,
                    keep=None if keep is None else absolute(keep),
                    known_encode_s=kept.encode_s if kept else None,
                    stream_digest=kept.stream if kept else "",
                )
            )
    if experiment.verify:
        plan.tasks = _with_one_verified(plan.tasks)
    plan.known = len({cell.key for cell in plan.planned}) - sum(len(task.cells) for task in plan.tasks)

    # What a run writes follows from these and the ledger alone.
    plan.digest = digest(
        [
            experiment.model_dump(mode="json", exclude={"verify"}),
            dataset,
            metric_digests,
            {label: codec.digest for label, codec in plan.codecs.items()},
            [item.name for item in items],
            images,
        ]
    )
    return plan


def _bitstreams(codecs: Iterable[ReadyCodec], dataset: str, item: Item, image: str) -> list[list[Cell]]:
    """Return the cells of one image, those of one bitstream together, whichever entry asks for them."""
    groups: dict[str, list[Cell]] = {}
    for codec in codecs:
        source = digest([image, item.caption], length=64) if codec.wants_caption else image
        for rate in codec.entry.rates:
            stream = encode_key(source, codec.digest, rate)
            for options, text in codec.variants:
                cell = Cell(
                    key=cell_key(stream, text),
                    encode_key=stream,
                    label=codec.entry.label,
                    codec=codec.name,
                    fingerprint=codec.digest,
                    image=item.name,
                    image_hash=image[:HASH_DIGITS],
                    dataset=dataset,
                    rate=float(rate),
                    codec_options=codec.entry.options,
                    decode_options=options,
                    measured="",
                )
                groups.setdefault(stream, []).append(cell)
    return list(groups.values())


def _with_one_verified(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks with one of each codec configuration to be verified.

    That is the second where there are two: by then the decoder has a history, which must not matter.
    """
    of_codec: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        of_codec.setdefault(task.cells[0].fingerprint, []).append(index)
    chosen = {indices[min(1, len(indices) - 1)] for indices in of_codec.values()}
    return [replace(task, verify=index in chosen) for index, task in enumerate(tasks)]


def _is_known(cell: Cell | None, metrics: Mapping[str, str]) -> bool:
    """Whether a cell was measured, without an error, with these very metrics."""
    return cell is not None and not cell.error and metrics.items() <= cell.metric_fingerprints.items()


def _by_stream(cells: Iterable[Cell]) -> dict[str, Cell]:
    return {cell.encode_key: cell for cell in cells if cell.stream and cell.encode_s is not None}


def _distinct(items: Sequence[Item]) -> tuple[list[Item], list[str], list[str]]:
    """Return the images without those that are there under another name already, their digests, and a line on those.

    An image is what its digest says. Measured twice it would count twice in every average.
    """
    first: dict[str, Item] = {}
    twice = []
    for item in items:
        image = _image_digest(item)
        if image in first:
            twice.append(f"{item.name} is {first[image].name}")
        first.setdefault(image, item)
    lines = [f"left out, since the same image is there under another name: {', '.join(twice)}"] if twice else []
    return list(first.values()), list(first), lines


def _image_digest(item: Item) -> str:
    try:
        return item.digest()
    except ImageError:
        # Unreadable: its cells become error rows, and are tried again as soon as the file changes.
        return hashlib.sha256(f"unreadable {item.name}".encode()).hexdigest()
