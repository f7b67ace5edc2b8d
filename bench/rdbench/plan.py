"""Plan: an experiment and its images become tasks, less what the ledger already knows."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rdbench.datasets import ImageError, Item
from rdbench.experiment import CodecEntry, Experiment, decode_variants
from rdbench.files import absolute, absolute_codec
from rdbench.keys import canonical_json, cell_key, digest, encode_key
from rdbench.ledger import Cell
from rdbench.measure import Task
from rdbench.metrics import DerivedMetric, MetricUnavailableError, metric_class
from rdbench.text import message
from rdcodecs import CodecError, load_codec


@dataclass(frozen=True)
class ReadyCodec:
    """An entry whose codec can run on this machine.

    Attributes:
        entry: what the experiment asks for.
        name: the codec's own name.
        fingerprint: what decides its output.
        digest: the fingerprint's digest.
        variants: the decode options wanted, each complete, with their canonical JSON.
        wants_caption: whether its bitstreams depend on the text beside an image.
    """

    entry: CodecEntry
    name: str
    fingerprint: Mapping[str, Any]
    digest: str
    variants: Sequence[tuple[dict[str, Any], str]]
    wants_caption: bool = False


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
        digest: digest of everything but the ledger that decides what is written.
    """

    tasks: list[Task] = field(default_factory=list)
    planned: list[Cell] = field(default_factory=list)
    known: int = 0
    codecs: dict[str, ReadyCodec] = field(default_factory=dict)
    metrics: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    images: int = 0
    digest: str = ""

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
) -> Plan:
    """Work out what is to be measured.

    Args:
        experiment: a validated experiment.
        dataset: the dataset's name, for the records.
        items: its images.
        known: the ledger's cells by key.
        keep: folder for bitstreams and reconstructions, or None.
        force: measure everything, known or not.
    """
    plan = Plan(images=len(items))
    plan.metrics, lines = available_metrics(experiment.metrics)
    plan.missing += lines
    plan.codecs, lines = available_entries(experiment.codecs)
    plan.missing += lines
    metric_digests = plan.metric_digests
    by_stream = _by_stream(known.values()) if keep else {}
    images = [_image_digest(item) for item in items]
    for item, image in zip(items, images, strict=True):
        for group in _bitstreams(plan.codecs.values(), dataset, item, image):
            plan.planned += group
            wanted = group if force else [c for c in group if not _is_known(known.get(c.key), metric_digests)]
            # Two labels may ask for the very same cell; it is measured once.
            wanted = list({cell.key: cell for cell in wanted}.values())
            if not wanted:
                continue
            kept = None if force else by_stream.get(wanted[0].encode_key)
            plan.tasks.append(
                Task(
                    item=item,
                    codec=absolute_codec(plan.codecs[wanted[0].label].entry.codec),
                    image_digest=image,
                    cells=tuple(wanted),
                    metrics=metric_digests,
                    timeout=experiment.timeout,
                    keep=None if keep is None else absolute(keep),
                    known_encode_s=kept.encode_s if kept else None,
                    stream_digest=kept.stream if kept else "",
                )
            )
    plan.known = len({cell.key for cell in plan.planned}) - sum(len(task.cells) for task in plan.tasks)

    # What a run writes follows from these and the ledger alone.
    plan.digest = digest(
        [
            experiment.model_dump(mode="json"),
            dataset,
            metric_digests,
            {label: codec.digest for label, codec in plan.codecs.items()},
            [item.name for item in items],
            images,
        ]
    )
    return plan


def available_metrics(names: Sequence[str]) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Return the metrics that can be computed here with their fingerprints, and a line for each that cannot."""
    ready: dict[str, Mapping[str, Any]] = {}
    missing = []
    for name in names:
        cls = metric_class(name)
        base = metric_class(cls.base) if issubclass(cls, DerivedMetric) else cls
        metric = base()
        assert not isinstance(metric, DerivedMetric), "a derived metric derives from a measured one"  # noqa: S101
        try:
            metric.check()
            ready[name] = metric.fingerprint()
        except MetricUnavailableError as error:
            missing.append(f"metric {name} is left out: {message(error)}")
    return ready, missing


def available_entries(entries: Iterable[CodecEntry]) -> tuple[dict[str, ReadyCodec], list[str]]:
    """Return the codecs that can run here by label, and a line for each that cannot."""
    ready: dict[str, ReadyCodec] = {}
    missing = []
    for entry in entries:
        try:
            codec = load_codec(entry.codec, **entry.options)
            codec.check()
            fingerprint = codec.fingerprint()
            variants = [(each, canonical_json(each)) for each in decode_variants(entry, codec.decode_options)]
            ready[entry.label] = ReadyCodec(
                entry, codec.name, fingerprint, digest(fingerprint), variants, codec.wants_caption
            )
        except CodecError as error:
            missing.append(f"{entry.label} is left out: {message(error)}")
    return ready, missing


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
                    image_hash=image[:12],
                    dataset=dataset,
                    rate=rate,
                    codec_options=codec.entry.options,
                    decode_options=options,
                    measured="",
                )
                groups.setdefault(stream, []).append(cell)
    return list(groups.values())


def _is_known(cell: Cell | None, metrics: Mapping[str, str]) -> bool:
    """Whether a cell was measured, without an error, with these very metrics."""
    return cell is not None and not cell.error and metrics.items() <= cell.metric_fingerprints.items()


def _by_stream(cells: Iterable[Cell]) -> dict[str, Cell]:
    return {cell.encode_key: cell for cell in cells if cell.stream and cell.encode_s is not None}


def _image_digest(item: Item) -> str:
    try:
        return item.digest()
    except ImageError:
        # Unreadable: its cells become error rows, and are tried again as soon as the file changes.
        return hashlib.sha256(f"unreadable {item.name}".encode()).hexdigest()
