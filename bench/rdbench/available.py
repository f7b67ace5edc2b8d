"""What of an experiment can run on this machine: codecs and metrics with what decides their output."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rdbench.describing import describe_all, describe_codec
from rdbench.experiment import CodecEntry, decode_variants
from rdbench.keys import canonical_json, digest
from rdbench.metrics import DerivedMetric, MetricUnavailableError, metric_class
from rdbench.text import one_line
from rdcodecs import CodecError


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
        costly: whether one process encodes and decodes.
    """

    entry: CodecEntry
    name: str
    fingerprint: Mapping[str, Any]
    digest: str
    variants: Sequence[tuple[dict[str, Any], str]]
    wants_caption: bool = False
    costly: bool = False


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
            missing.append(f"metric {name} is left out: {error}")
    return ready, missing


def available_entries(
    entries: Iterable[CodecEntry], *, limit_s: float = 3600.0
) -> tuple[dict[str, ReadyCodec], list[str]]:
    """Return the codecs that can run here by label, and a line for each that cannot, whatever the reason.

    Args:
        entries: what an experiment asks for.
        limit_s: seconds that a codec which does not ship may take to be loaded; it has a minute at least.
    """
    ready: dict[str, ReadyCodec] = {}
    missing = []
    entries = list(entries)
    describe_all([(entry.codec, entry.options) for entry in entries], limit_s=limit_s)
    for entry in entries:
        try:
            codec = describe_codec(entry.codec, entry.options, limit_s=limit_s, complete=True)
        except CodecError as error:
            missing.append(f"{entry.label} is left out: {error}")
            continue
        except Exception as error:
            missing.append(f"{entry.label} is left out: {one_line(error)}")
            continue
        assert codec.fingerprint is not None  # noqa: S101 - it was asked for
        variants = [(each, canonical_json(each)) for each in decode_variants(entry, codec.decode_options)]
        ready[entry.label] = ReadyCodec(
            entry=entry,
            name=codec.name,
            fingerprint=codec.fingerprint,
            digest=digest(codec.fingerprint),
            variants=variants,
            wants_caption=codec.wants_caption,
            costly=codec.costly,
        )
    return ready, missing
