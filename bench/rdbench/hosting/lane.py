"""The hosts of one thread: which runs what, how many stay, and what they are asked."""

import contextlib
import hashlib
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil

from rdbench.hosting.failures import CodecFailureError
from rdbench.hosting.process import HostProcess
from rdbench.keys import digest
from rdbench.scratch import Scratch
from rdbench.text import error_line
from rdcodecs import Image
from rdcodecs.codec import Direction
from rdcodecs.description import CodecDescription
from rdcodecs.registry import is_shipped

LEAST_START_S = 60.0
"""Seconds that a codec has at least to be imported and to load its weights."""
MOST_HOSTS = 32
"""Processes that a lane keeps for when their codec's turn comes again."""
_SPARE_MEMORY = 0.2
"""Share of the machine's memory that idle processes leave free."""

_Use = Literal["encode", "decode", "both"]


@dataclass(frozen=True)
class Configuration:
    """A codec as a run has planned it.

    Attributes:
        codec: registered name or ``path/to/file.py:Class``.
        options: the codec's options.
        fingerprint: what was planned to decide its output.
        costly: whether one process encodes and decodes.
        memory: bytes that its process may use with its children; None for no limit.
        limit_s: time limit of a task, in seconds.
    """

    codec: str
    options: Mapping[str, Any] = field(hash=False)
    fingerprint: Mapping[str, Any] = field(hash=False)
    costly: bool = False
    memory: int | None = None
    limit_s: float = 3600.0

    @property
    def key(self) -> tuple[str, str, str, int | None]:
        """What two configurations must share to share a process."""
        return self.codec, digest(dict(self.options)), digest(self.fingerprint), self.memory


def image_sha256(image: Image) -> str:
    """Return the SHA-256, as hex digits, of a contiguous image's samples."""
    return hashlib.sha256(image.data).hexdigest()


class FingerprintError(CodecFailureError):
    """The codec here is not the one that was planned."""


class Lane:
    """Runs codecs in processes of their own, for one thread of this process.

    Encoding and decoding have a process each, so that nothing but the bytes goes from one to the other. A costly codec
    has one for both, with an instance for each.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        """Start nothing yet.

        Args:
            threads: that a codec's libraries may use; None for as many as this process's.
        """
        self._threads = threads
        self.owner = os.getpid(), threading.get_ident()
        self._hosts: OrderedDict[tuple[Any, _Use], HostProcess] = OrderedDict()
        self._described: dict[Any, CodecDescription] = {}
        self._scratch = Scratch()
        self._count = 0
        self._finalizer = weakref.finalize(self, _end, self._hosts, self._scratch, os.getpid())

    def encode(
        self, wanted: Configuration, image: Image, sha256: str, rate: float, caption: str | None, *, deadline: float
    ) -> tuple[bytes, float]:
        """Compress an image; return the bitstream and the seconds it took.

        Args:
            wanted: the codec.
            image: what to compress; the codec gets a copy.
            sha256: hex digits, of the image's samples: the copy must still have it afterwards.
            rate: the codec's rate parameter.
            caption: the text beside the image, handed on where the codec takes it.
            deadline: when to give up, in `time.monotonic`'s seconds. Starting the codec does not count.

        Raises:
            CodecFailureError: the codec failed.
        """
        waited = self.make_ready(wanted, "encode", "decode")
        host = self._hosts[wanted.key, "both" if wanted.costly else "encode"]
        request = {
            "call": "encode",
            "rate": rate,
            "shape": list(image.shape),
            "digest": sha256,
            "room": host.put(image),
        }
        if self._described[wanted.key].wants_caption:
            request["caption"] = caption
        answer, data = self._ask(host, wanted, request, b"", deadline + waited)
        return data, answer["seconds"]

    def decode(
        self, wanted: Configuration, data: bytes, options: Mapping[str, Any], shape: tuple[int, ...], *, deadline: float
    ) -> tuple[Image, float]:
        """Decompress a bitstream; return the image and the seconds it took.

        Args:
            wanted: the codec.
            data: the bitstream.
            options: decode options.
            shape: what the image must have; the codec is not told.
            deadline: as for `encode`.

        Raises:
            CodecFailureError: the codec failed, or returned something else than an image of that shape.
        """
        waited = self.make_ready(wanted, "decode")
        host = self._hosts[wanted.key, "both" if wanted.costly else "decode"]
        room = host.make_room(shape[0] * shape[1] * shape[2])
        request = {"call": "decode", "options": dict(options), "room": room}
        answer, _ = self._ask(host, wanted, request, data, deadline + waited)
        if tuple(answer["shape"]) != tuple(shape):
            said = f"decode returned uint8 of shape {tuple(answer['shape'])}, not uint8 of shape {tuple(shape)}"
            raise CodecFailureError(error_line("ContractError", said), stage="decode", base="ContractError", said=said)
        return host.get((shape[0], shape[1], shape[2])), answer["seconds"]

    def make_ready(self, wanted: Configuration, *directions: Direction) -> float:
        """Start the processes that a codec lacks, all at once, before any time is taken; return the seconds it took.

        Raises:
            CodecFailureError: it cannot be imported or made, or is not what was planned.
        """
        uses: list[_Use] = ["both"] if wanted.costly else [*directions]
        key = wanted.key
        for use in uses:
            host = self._hosts.get((key, use))
            if host is not None and not host.alive:
                self._drop(key, use)
        missing = [use for use in uses if (key, use) not in self._hosts]
        if not missing:
            for use in uses:
                self._hosts.move_to_end((key, use))
            return 0.0
        started = time.monotonic()
        self._make_room(len(missing), key)
        try:
            for use in missing:
                self._count += 1
                folder = self._scratch.path / str(self._count)
                # A codec that ships may find its binaries by a path that is relative to where the run was started.
                host = HostProcess(
                    folder, private=not is_shipped(wanted.codec), memory=wanted.memory, threads=self._threads
                )
                self._hosts[key, use] = host
                both = ["encode", "decode"]
                request = {"call": "load", "codec": wanted.codec, "options": dict(wanted.options)}
                host.queue({**request, "directions": both if use == "both" else [use]})
            for use in missing:
                limit = max(wanted.limit_s, LEAST_START_S)
                answer, _ = self._hosts[key, use].answer("load", deadline=started + limit, limit_s=limit)
                described = CodecDescription.from_json(answer["description"])
                compare_fingerprints(wanted.fingerprint, described.fingerprint or {})
                self._described[key] = described
        except BaseException:
            for use in missing:
                self._drop(key, use)
            raise
        return time.monotonic() - started

    def divert(self, wanted: Configuration, image: Image, rate: float, *, limit_s: float) -> None:
        """Give the encoder, if it runs, another image; what comes of it does not matter."""
        if (wanted.key, "both" if wanted.costly else "encode") not in self._hosts:
            return
        with contextlib.suppress(CodecFailureError):
            sha256 = image_sha256(image)
            self.encode(wanted, image, sha256, rate, None, deadline=time.monotonic() + limit_s)

    def renew(self, wanted: Configuration) -> None:
        """End a codec's processes with all that they have started: the next call is in a fresh one."""
        for use in ("encode", "decode", "both"):
            self._drop(wanted.key, use)

    def close(self) -> None:
        """End every process and take away the temporary folder."""
        self._finalizer()

    def _ask(
        self, host: HostProcess, wanted: Configuration, request: Mapping[str, Any], data: bytes, deadline: float
    ) -> tuple[dict[str, Any], bytes]:
        started = time.monotonic()
        try:
            answer, payload = host.ask(request, data, deadline=deadline, limit_s=wanted.limit_s)
        except BaseException as error:
            if not isinstance(error, CodecFailureError) or not host.alive:
                for use in ("encode", "decode", "both"):
                    if self._hosts.get((wanted.key, use)) is host:
                        self._drop(wanted.key, use)
            raise
        # A codec can change the clock of its process: its call took no longer than was waited for it here.
        answer["seconds"] = min(max(float(answer["seconds"]), 0.0), time.monotonic() - started)
        return answer, payload

    def _drop(self, key: Any, use: _Use) -> None:
        host = self._hosts.pop((key, use), None)
        if host is not None:
            host.stop()

    def _make_room(self, count: int, key: Any) -> None:
        """End processes whose codec's turn was longest ago, where there are too many or too little memory is left."""
        for other, use in [known for known in self._hosts if known[0] != key]:
            memory = psutil.virtual_memory()
            if len(self._hosts) + count <= MOST_HOSTS and memory.available >= _SPARE_MEMORY * memory.total:
                return
            self._drop(other, use)


_lanes = threading.local()


def own_lane() -> Lane:
    """Return this thread's lane: processes are never shared between threads, nor with a fork of this process."""
    mine: Lane | None = getattr(_lanes, "lane", None)
    if mine is None or mine.owner != (os.getpid(), threading.get_ident()):
        mine = _lanes.lane = Lane()
    return mine


def compare_fingerprints(planned: Mapping[str, Any], here: Mapping[str, Any], what: str = "the codec") -> None:
    """Check that what runs here is what was planned.

    Raises:
        FingerprintError: it is not; the message says what differs.
    """
    if digest(planned) == digest(here):
        return
    ours, theirs = dict(_leaves(here)), dict(_leaves(planned))
    names = [name for name in [*theirs, *(n for n in ours if n not in theirs)] if ours.get(name) != theirs.get(name)]
    differences = [f"{name} {ours.get(name, 'nothing')} here, {theirs.get(name, 'nothing')} planned" for name in names]
    more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
    said = f"{what} here is not the one that was planned: {'; '.join(differences[:3])}{more}"
    raise FingerprintError(
        error_line("FingerprintError", said), stage="fingerprint", kind="FingerprintError", said=said
    )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, each in sorted(value.items(), key=lambda item: str(item[0])):
        if isinstance(each, Mapping):
            found += _leaves(each, f"{prefix}{name}.")
        else:
            text = str(each)
            short = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
            found.append((f"{prefix}{name}", text[:12] if short else text))
    return found


def _end(hosts: "OrderedDict[Any, HostProcess]", scratch: Scratch, owner: int) -> None:
    if os.getpid() != owner:  # a fork: the processes are its parent's
        return
    while hosts:
        _, host = hosts.popitem()
        host.stop()
    scratch.remove()
