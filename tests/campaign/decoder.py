"""A process that decodes streams of one codec and tells what came of each. Run by `streams`, with a pipe either way.

Messages begin with their length, four bytes, big-endian. The first answer describes the codec (see `_hello`); then
every stream that is read is answered with what came of it (see `_decoded`). Both are JSON.
"""

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rdcodecs import Codec, CodecError, load_codec
from rdcodecs.codec import Image


def read(stream: BinaryIO) -> bytes | None:
    """Return the next message, `None` at the end."""
    length = stream.read(4)
    return stream.read(int.from_bytes(length, "big")) if len(length) == 4 else None


def write(stream: BinaryIO, message: bytes) -> None:
    """Send a message."""
    stream.write(len(message).to_bytes(4, "big") + message)
    stream.flush()


def images() -> list[Image]:
    """Small pictures with a texture, an edge and a flat part; one with odd sides."""
    random = np.random.default_rng(0)
    made = []
    for height, width in ((48, 64), (33, 47)):
        y, x = np.mgrid[:height, :width]
        image = np.stack([x * 4 % 256, y * 5 % 256, (x + y) * 2], axis=-1).astype(np.uint8)
        image[:16, :16] = random.integers(0, 256, (16, 16, 3))
        image[height // 2 :, width // 2 :] = (30, 90, 160)
        made.append(image)
    return made


def main() -> None:
    """Serve until the pipe is closed; the argument is JSON: codec, options, rates, decode."""
    job = json.loads(sys.argv[1])
    # What libraries print must not get among the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    codec = load_codec(job["codec"], **job["options"])
    write(answers, json.dumps(_hello(codec, job["rates"])).encode())
    while (data := read(sys.stdin.buffer)) is not None:
        write(answers, json.dumps(_decoded(codec, data, job["decode"])).encode())


def _hello(codec: Codec, rates: list[float]) -> dict[str, Any]:
    """Return the codec's streams, as hex digits with width and height, and the digest that its streams are sealed by.

    In place of these `missing` says what this machine lacks.
    """
    try:
        codec.check()
        streams = [
            (codec.encode(image, rate).hex(), image.shape[1], image.shape[0]) for image in images() for rate in rates
        ]
    except CodecError as error:
        return {"missing": str(error)}
    model = getattr(getattr(codec, "hyperprior", codec), "model", None)
    return {"streams": streams, "digest": model.digest.hex() if model is not None else ""}


def _decoded(codec: Codec, data: bytes, options: dict[str, Any]) -> dict[str, Any]:
    """Return what came of a stream: `size` or `error` and `typed`; and what it took: `seconds` of CPU and `mib`."""
    _forget_peak()
    memory, start = _peak_mib(), _cpu_seconds()
    answer: dict[str, Any] = {}
    try:
        image = codec.decode(data, **options)
        good = type(image) is np.ndarray and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        answer["size"] = [image.shape[1], image.shape[0]] if good else repr(type(image))
    except BaseException as error:  # that is what is looked for
        line = str(error)
        answer |= {"error": f"{type(error).__name__}: {line}"[:500], "typed": isinstance(error, CodecError)}
        answer["one_line"] = "\n" not in line and 0 < len(line) <= 500
    return answer | {"seconds": _cpu_seconds() - start, "mib": max(0.0, _peak_mib() - memory)}


def _cpu_seconds() -> float:
    """Return the processor time of this process and of those it has run: waiting for others does not count."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _forget_peak() -> None:
    with suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
