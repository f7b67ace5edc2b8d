"""Damaged streams of every codec that runs on this machine: an error that says so, or a picture, and nothing else.

What a decoder must do with a damaged stream:

- raise a `CodecError` of one line, or return a picture: uint8, (H, W, 3);
- of the learned codecs, whose streams have a checksum: an error. A checksum of 16 bits lets one stream in 65536 pass by
  chance; those are told by computing it again, and counted apart. A stream that was forged with a checksum that is
  right may be a picture, of the size that the stream states;
- of the other formats, which have none: a picture of the size that was encoded, or, where the damage is in the size
  itself, of another, which `rdbench run` then refuses as an error row; those are counted apart;
- take no more than `_SECONDS` of processor time, and no more memory than `_MIB` beyond what it has;
- print nothing, and neither crash nor hang.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from binascii import crc_hqx
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.campaign import damage
from tests.campaign.decoder import read, write
from tests.campaign.figures import Figures

from forged_streams import split

ROOT = Path(__file__).parents[2]

_SECONDS = 2.0
_MIB = 512.0
_HANGS_AFTER = 60.0
_STARTS_WITHIN = 600.0
"""Seconds by the clock, for one stream and for a process: the machine may be busy with other things."""
_MAX_PIXELS = 1 << 20
"""The limit that decoders are given, so that the bounds above hold for every size that a damaged header may say."""
_FORGED = 0.35
"""Share of a learned codec's streams that get a checksum that is right."""
_FOREIGN = 0.04
_JOINED = 0.06


@dataclass(frozen=True)
class Subject:
    """A codec, and how it is tried.

    Attributes:
        codec: its name.
        share: of all streams, relative to the others' shares: slow decoders get few.
        rates: to encode at.
        options: of the codec.
        decode: options of decoding.
    """

    codec: str
    share: int
    rates: tuple[float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    decode: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The codec with its options."""
        return " ".join([self.codec, *(f"{name}={value}" for name, value in self.options.items())])


SUBJECTS = (
    Subject("jpeg", 14, (10, 90)),
    Subject("jpeg", 4, (50,), {"progressive": True}),
    Subject("webp", 14, (10, 90)),
    Subject("avif", 12, (20, 80)),
    Subject("jpeg2000", 12, (0.5, 4)),
    Subject("heic", 10, (20, 60)),
    Subject("jxl", 12, (8, 1)),
    Subject("vvenc", 3, (40, 22)),
    Subject("vtm", 1, (40,)),
    Subject("hyperprior", 10, (0, 3, 7), {"device": "cpu"}),
    Subject("hyperprior", 3, (2,), {"weights": "tiny", "statistics": True, "device": "cpu"}),
    Subject("fusion", 3, (0, 4), {"device": "cpu"}, {"steps": 1}),
    Subject("fusion", 1, (5,), {"renormalize": "source", "device": "cpu"}, {"steps": 0}),
    Subject("perco", 4, (0, 2, 4), {"device": "cpu"}, {"steps": 1}),
)


@dataclass(frozen=True)
class _Stream:
    data: bytes
    size: tuple[int, int]


def run(count: int, seed: int, subjects: Sequence[Subject] = SUBJECTS) -> list[Figures]:
    """Decode damaged streams.

    Args:
        count: of streams, over all codecs.
        seed: the same gives the same streams.
        subjects: whose.

    Returns:
        One entry per codec and set of options that is here.
    """
    decoders: dict[str, _Decoder] = {}
    try:
        for subject in subjects:
            decoders[subject.label] = _Decoder(subject)
        here = [subject for subject in subjects if not decoders[subject.label].missing]
        streams = {subject.label: decoders[subject.label].streams for subject in here}
        left, shares, made = count, sum(subject.share for subject in here), []
        for subject in here:
            own = round(left * subject.share / shares)
            left, shares = left - own, shares - subject.share
            made.append(_try(subject, decoders[subject.label], streams, own, seed))
            decoders[subject.label].close()
        return made
    finally:
        for decoder in decoders.values():
            decoder.close()


def damaged(
    subject: Subject, number: int, seed: int, streams: Mapping[str, Sequence[_Stream]], digest: bytes
) -> tuple[str, bytes, _Stream]:
    """Return what was done, the damaged stream, and the stream that it was."""
    own = streams[subject.label]
    own_data = {stream.data for stream in own}
    known = sorted({stream.data for all_of in streams.values() for stream in all_of})
    random = Random(f"{seed} {subject.label} {number}")
    while True:
        stream = random.choice(own)
        draw = random.random()
        # Streams of codecs with the same weights are no damage.
        others = [data for data in known if data not in own_data and not (digest and _sealed_right(data, digest))]
        if draw < _FOREIGN and others:
            return "foreign", random.choice(others), stream
        if draw < _FOREIGN + _JOINED:
            kind, data = "joined", damage.joined(stream.data, [other.data for other in own], random)
        elif digest and random.random() < _FORGED:
            kind, data = "forged", damage.forged(stream.data, digest, random)
        else:
            kind = random.choice(sorted(damage.DAMAGES))
            data = damage.DAMAGES[kind](stream.data, random)
        if data not in known:
            return kind, data, stream


def _try(
    subject: Subject, decoder: "_Decoder", streams: Mapping[str, Sequence[_Stream]], count: int, seed: int
) -> Figures:
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    seconds = mib = 0.0
    for number in range(count):
        kind, data, stream = damaged(subject, number, seed, streams, decoder.digest)
        answer = decoder.decode(data)
        seconds, mib = max(seconds, answer.get("seconds", 0.0)), max(mib, answer.get("mib", 0.0))
        outcome, fault = _judged(answer, data, stream, decoder.digest, kind)
        outcomes[outcome] += 1
        if fault:
            failures.append(f"{subject.label}, stream {number} of seed {seed} ({kind}): {fault}; {_kept(data)}")
    notes = [f"{outcomes[name]:,} {name}" for name in _OUTCOMES if outcomes[name]]
    if decoder.digest:
        unsealed = count - outcomes["forged and drawn"] - outcomes["forged and refused"]
        notes.append(f"{unsealed / 65536:.2f} expected to pass the checksum by chance")
    notes.append(f"at most {seconds:.2f} s and {mib:.0f} MiB")
    return Figures(f"damaged streams: {subject.label}", count, count - len(failures), failures, notes)


_OUTCOMES = (
    "refused",
    "drawn",
    "drawn in another size",
    "forged and refused",
    "forged and drawn",
    "passed the checksum by chance",
)


def _judged(answer: Mapping[str, Any], data: bytes, stream: _Stream, digest: bytes, kind: str) -> tuple[str, str]:
    """Return the outcome's name, and what is wrong with it: "" where nothing is."""
    valid = bool(digest) and _sealed_right(data, digest)
    if "lost" in answer:
        return "lost", answer["lost"]
    if answer["noise"]:
        return "noise", f"it printed {answer['noise']!r}"
    if answer["seconds"] > _SECONDS:
        return "slow", f"it took {answer['seconds']:.1f} s of processor time"
    if answer["mib"] > _MIB:
        return "large", f"it took {answer['mib']:.0f} MiB"
    chance = "passed the checksum by chance" if valid and kind != "forged" else ""
    if "error" in answer:
        name = chance or ("forged and refused" if kind == "forged" else "refused")
        if not answer["typed"]:
            return name, f"it raised {answer['error']}"
        return name, "" if answer["one_line"] else f"not one line of at most 500 characters: {answer['error']!r}"
    size = answer["size"]
    if isinstance(size, str):
        return "drawn", f"it returned {size}"
    if not digest:
        return ("drawn" if tuple(size) == stream.size else "drawn in another size"), ""
    if not valid:
        return "drawn", "its checksum is wrong, and it was drawn"
    return chance or "forged and drawn", "" if tuple(size) == _stated(
        data
    ) else f"it was drawn as {size}, and states {_stated(data)}"


def _sealed_right(data: bytes, digest: bytes) -> bool:
    """Say whether a learned stream's checksum is right: with CRC-16 one in 65536 of damaged ones are by chance."""
    if len(data) < 3 or len(data) < 7 + (data[2] >> 6):
        return False
    header, payload = split(data)
    return crc_hqx(digest + header + payload, 0xFFFF) == int.from_bytes(data[len(header) : len(header) + 2], "big")


def _stated(data: bytes) -> tuple[int, int]:
    length = 3 + (data[2] >> 6)
    value, bits = int.from_bytes(data[2 : 2 + length], "big"), 4 * length - 1
    return (value >> bits & ((1 << bits) - 1)) + 16, (value & ((1 << bits) - 1)) + 16


def _kept(data: bytes) -> str:
    """Write a stream to a temporary file, and say where."""
    folder = Path(tempfile.gettempdir()) / "rdbench-campaign"
    folder.mkdir(exist_ok=True)
    path = folder / f"{crc_hqx(data, 0):04x}-{len(data)}.bin"
    path.write_bytes(data)
    return f"kept as {path}"


class _Decoder:
    """The process that decodes one codec's streams, started anew whenever a stream has ended it."""

    def __init__(self, subject: Subject) -> None:
        self._job = {
            "codec": subject.codec,
            "options": dict(subject.options),
            "rates": list(subject.rates),
            "decode": dict(subject.decode),
        }
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is
        self._process: subprocess.Popen[bytes] | None = None
        hello = self._start()
        self.missing: str = hello.get("missing", "")
        self.streams = [
            _Stream(bytes.fromhex(text), (width, height)) for text, width, height in hello.get("streams", [])
        ]
        self.digest = bytes.fromhex(hello.get("digest", ""))
        for stream in self.streams:
            answer = self.decode(stream.data)  # what is taken once is not counted against a damaged stream
            if answer.get("size") != list(stream.size):
                raise AssertionError(f"{subject.label}: a stream as it was encoded gives {answer}")

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return what came of a stream, with what was printed as `noise`; `lost` says how the process ended."""
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            write(self._process.stdin, data)
            answer = self._answer()
        except BrokenPipeError:
            answer = None
        if answer is None:
            status = self._process.poll()
            self.close()
            return {"lost": "it hung" if status is None else f"it ended the process with status {status}"}
        answer["noise"] = self._printed()
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what was not read any more
                        pipe.close()
            self._process = None

    def _start(self) -> dict[str, Any]:
        places = [ROOT, ROOT / "bench", ROOT / "codecs", ROOT / "tests" / "support"]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, places)),
            "RDBENCH_MAX_PIXELS": str(_MAX_PIXELS),
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.decoder", json.dumps(self._job)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
        )
        hello = self._answer(_STARTS_WITHIN)
        if hello is None:
            self.close()
            raise RuntimeError(f"the decoder of {self._job['codec']} does not start: {self._printed()}")
        self._printed()
        return hello

    def _answer(self, seconds: float = _HANGS_AFTER) -> dict[str, Any] | None:
        assert self._process is not None
        pipe = self._process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], seconds)
        message = read(pipe) if ready else None  # type: ignore[arg-type]
        if message is None:
            if ready:
                self._process.wait(_HANGS_AFTER)
            return None
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _printed(self) -> str:
        """Return what was printed since the last call, its first 300 characters."""
        self._noise.seek(0)
        text = self._noise.read().decode(errors="replace").strip()
        self._noise.seek(0)
        self._noise.truncate()
        return text[:300]
