"""A codec's host: a process that runs one codec and nothing else, asked over a pipe.

Run as a script, by any interpreter that has numpy: ``python host.py REQUESTS REPLIES LIFE PIXELS``, four inherited file
descriptors. It forks. The *keeper* does nothing but end what the codec has started, when the host ends or when
nobody holds the other end of the LIFE pipe any more. The host itself answers requests, one at a time (see `wire`):

- ``start``: `sys_path` (or null to keep this interpreter's), `directory`, `calls_in`, `temporary`;
- ``describe``: `codec`, `options`; answers with the description;
- ``load``: `codec`, `options`, `directions`; answers with the description;
- ``encode``: `rate`, `shape`, `digest`, `room`, `caption` (left out where the codec takes none); the image lies in
  PIXELS; answers with the bitstream;
- ``decode``: `options`, `room`, the bitstream; the image is put into PIXELS where it fits.

Answers hold `seconds`, measured around the codec's call alone, or `error`: its `type`, `message`, `place` and `base`
(the name of the class of `rdcodecs.codec` that it derives from, or null), and the `stage` at which it came.
"""

import sys

if __name__ == "__main__":
    del sys.path[0]  # this file's folder: its modules are no top-level modules

import ctypes
import dataclasses
import fcntl
import hashlib
import importlib.util
import mmap
import os
import resource
import select
import signal
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdcodecs import wire

# Kept from before any codec is imported, which may replace what it finds in these modules.
_clock = time.perf_counter
_exit = os._exit
_chdir = os.chdir
_pid = os.getpid
_hash = hashlib.sha256

_PRIVATE_DESCRIPTORS = 200
"""Where the host's own descriptors are, out of the way of what a codec opens and closes."""
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36
_LONGEST_MESSAGE = 20_000
_FILE_VARIABLE = "RDBENCH_CODEC_FILE"
"""Environment variable for processes that the codec starts: the codec's own file."""
_GRACE_S = 0.2
"""How long helpers of the host, such as the one that gives shared memory back, have to end by themselves."""


def main() -> None:
    """Fork into keeper and host; neither returns."""
    requests, replies, life, pixels = map(int, sys.argv[1:5])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _control(_SET_SUBREAPER, 1)
    keeper = os.getpid()
    child = os.fork()
    if child:
        for descriptor in (requests, replies, pixels):
            os.close(descriptor)
        _keep(child, life)
    os.close(life)
    os.setsid()  # a codec that signals its process group does not reach the keeper
    _control(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != keeper:
        _exit(1)
    load_package()
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _PRIVATE_DESCRIPTORS) for each in (requests, replies, pixels)]
    for descriptor in (requests, replies, pixels):
        os.close(descriptor)
    try:
        Host(*moved).serve()
    finally:  # not the interpreter's own end: it would wait for threads and handlers that the codec has left
        _exit(0)


def _control(option: int, value: int) -> None:
    """Ask Linux for something of this process; elsewhere there is no such thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _keep(child: int, life: int) -> None:
    """Wait until the host ends or is not wanted any more; end all that is left of it, and end as it did."""
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while (status := _reap(child)) is None:
        ready, _, _ = select.select([life, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
        if life in ready:
            os.kill(child, signal.SIGKILL)  # not its group: helpers in it may still give back what they hold
            life = wake  # its end is all that is waited for now
    _end_descendants(child)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        signal.set_wakeup_fd(-1)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    _exit(os.waitstatus_to_exitcode(status))


def _reap(child: int) -> "int | None":
    """Collect what has ended; return the status of `child` if it is among it."""
    status = None
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == child:
            status = code
        if pid == 0:
            return status


def _end_descendants(child: int) -> None:
    """Kill what the host has left, however it was started: on Linux all of it has become this process's."""
    patience = time.monotonic() + _GRACE_S
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            continue
        if time.monotonic() > patience:
            for each in _descendants():
                _kill(each)
        time.sleep(0.005)
    if sys.platform != "linux":
        _kill(child)  # its group, which is all that is known of what it has left


def _descendants() -> "list[int]":
    """Return the processes below this one, parents first."""
    children: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no /proc
        names = []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(name))
    found = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _kill(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def load_package() -> None:
    """Make `rdcodecs` the package that this file is part of, also where this interpreter has none or another one."""
    folder = os.path.dirname(os.path.abspath(__file__))
    place = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("rdcodecs", place, submodule_search_locations=[folder])
    assert spec is not None  # noqa: S101 - a file that is there has a loader
    assert spec.loader is not None  # noqa: S101 - likewise
    module = importlib.util.module_from_spec(spec)
    sys.modules["rdcodecs"] = module
    spec.loader.exec_module(module)


class Host:
    """Answers requests."""

    def __init__(self, requests: int, replies: int, pixels: int) -> None:
        self._requests, self._replies, self._pixels = requests, replies, pixels
        self._pid = os.getpid()
        self._map: mmap.mmap | None = None
        self._room = 0
        self._stage = "start"
        self._calls_in = "."
        self._codecs: dict[str, Any] = {}
        self._answers = {
            "start": self._start,
            "describe": self._describe,
            "load": self._load,
            "encode": self._encode,
            "decode": self._decode,
        }

    def serve(self) -> None:
        """Answer until the other end is gone."""
        from rdcodecs import wire

        self._wire = wire
        incoming = wire.Incoming()
        while (message := wire.receive(self._requests, incoming)) is not None:
            header, payload = message
            try:
                if header["protocol"] != wire.PROTOCOL:
                    raise RuntimeError(f"protocol {header['protocol']} is not spoken here, but {wire.PROTOCOL}")
                self._stage = header["call"]
                answer, data = self._answers[header["call"]](header, payload)
                packed = wire.pack(answer, data)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too: they are the codec's
                packed = wire.pack({"error": {**_facts(error, self._stage), "stage": self._stage}})
                del error
            if _pid() != self._pid:  # a child that the codec has forked, and that has come back here
                _exit(0)
            wire.send(self._replies, packed)

    def _start(self, request: "wire.Header", _: bytes) -> "tuple[wire.Header, bytes]":
        # What a codec prints goes where its errors go.
        sys.stdout = sys.stderr
        if request["sys_path"] is not None:
            sys.path[:] = request["sys_path"]
        _chdir(request["directory"])
        self._directory, self._calls_in = request["directory"], request["calls_in"]
        tempfile.tempdir = os.environ["TMPDIR"] = request["temporary"]
        return {}, b""

    def _opened(self, request: "wire.Header", direction: Any = None) -> "tuple[Any, Any, Any]":
        """Make the codec, ready for a direction; return its class, the codec, and its description."""
        from rdcodecs import description, registry

        name, options = request["codec"], request["options"]
        # Relative paths in options mean what they mean where the run was started.
        _chdir(self._directory)
        file = name.rpartition(":")[0]
        os.environ[_FILE_VARIABLE] = os.path.realpath(file) if file.endswith(".py") else ""
        sys.dont_write_bytecode = not registry.is_shipped(name)
        self._stage = "import"
        cls = registry.codec_class(name)
        self._stage = "__init__"
        codec = registry.load_codec(name, **options)
        source, files = ({}, ()) if registry.is_shipped(name) else description.own_source(cls, options)
        self._stage = "describe"
        described = description.describe(name, codec)
        self._stage = "check"
        if direction is None:
            codec.check()
        else:
            codec.warm_up(direction)
        self._stage = "fingerprint"
        fingerprint = description.plain(description.full_fingerprint(name, codec, source), "fingerprint()")
        return cls, codec, dataclasses.replace(described, fingerprint=fingerprint, files=files)

    def _describe(self, request: "wire.Header", _: bytes) -> "tuple[wire.Header, bytes]":
        _, _, described = self._opened(request)
        return {"description": described.as_json()}, b""

    def _load(self, request: "wire.Header", _: bytes) -> "tuple[wire.Header, bytes]":
        from rdcodecs import registry

        *others, last = request["directions"]
        cls, codec, described = self._opened(request, last)
        self._codecs = {last: codec}
        for direction in others:
            self._stage = "__init__"
            self._codecs[direction] = registry.fresh_class(request["codec"], cls)(**request["options"])
            self._stage = "check"
            self._codecs[direction].warm_up(direction)
        return {"description": described.as_json()}, b""

    def _encode(self, request: "wire.Header", _: bytes) -> "tuple[wire.Header, bytes]":
        from rdcodecs.codec import ContractError

        numpy = sys.modules["numpy"]
        height, width, channels = request["shape"]
        copy = self._memory(request["room"])[: height * width * channels]
        image = numpy.frombuffer(copy, numpy.uint8).reshape(height, width, channels)
        caption = {"caption": request["caption"]} if "caption" in request else {}
        _chdir(self._calls_in)
        codec = self._codecs["encode"]
        started = _clock()
        data = codec.encode(image, request["rate"], **caption)
        seconds = _clock() - started
        if _hash(copy).hexdigest() != request["digest"]:
            raise ContractError("the codec wrote into the image it was given: encode must work on a copy of its own")
        if type(data) is not bytes:
            raise ContractError(f"encode returned {_kind(data)}, not bytes")
        return {"seconds": seconds}, data

    def _decode(self, request: "wire.Header", data: bytes) -> "tuple[wire.Header, bytes]":
        from rdcodecs.codec import ContractError

        numpy = sys.modules["numpy"]
        _chdir(self._calls_in)
        codec = self._codecs["decode"]
        started = _clock()
        image = codec.decode(data, **request["options"])
        seconds = _clock() - started
        if type(image) is not numpy.ndarray:
            raise ContractError(f"decode returned {_kind(image)}, not numpy.ndarray")
        if image.dtype != numpy.uint8:
            raise ContractError(f"decode returned {image.dtype} of shape {image.shape}, not uint8")
        if image.nbytes <= request["room"]:
            self._memory(request["room"])[: image.nbytes] = image.tobytes()
        return {"seconds": seconds, "shape": list(image.shape)}, b""

    def _memory(self, room: int) -> mmap.mmap:
        """Return what lies in PIXELS, which has room for so many bytes."""
        if self._map is None or room != self._room:
            self._map, self._room = mmap.mmap(self._pixels, room), room
        return self._map


class _CodecFile:
    """Finds the module of a codec's file in processes that the codec starts by `multiprocessing`'s method "spawn".

    These run this file as their main module, and look for functions of the codec by its module's name.
    """

    @staticmethod
    def find_spec(name: str, *_: Any) -> Any:
        """Return how the module is imported, None for every other one."""
        file = os.environ.get(_FILE_VARIABLE)
        if not file or not name.startswith("rdbench_codec_file_"):
            return None
        if "rdcodecs" not in sys.modules:
            load_package()
        from pathlib import Path

        from rdcodecs import registry

        spec = registry.file_spec(Path(file))
        return spec if spec is not None and spec.name == name else None


def _kind(value: Any) -> str:
    cls = type(value)
    return cls.__name__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def _facts(error: BaseException, stage: str) -> "dict[str, Any]":
    """Return what is to be known of an exception, whatever its own methods do."""
    from rdcodecs import codec

    kind = type(error)
    bases = [base.__name__ for base in kind.__mro__ if base.__module__ == codec.__name__]
    try:
        message = str.__str__(str(error)[:_LONGEST_MESSAGE])
    except BaseException as second:
        message = f"[its message cannot be shown: {type(second).__name__}]"
    missing = getattr(error, "filename", None) if issubclass(kind, FileNotFoundError) else None
    if isinstance(missing, str) and not os.path.isabs(missing):
        if stage in ("encode", "decode"):
            message += " (encode and decode run in a folder of their own: make paths absolute in __init__ or check)"
        else:
            message += " (relative to the folder in which the run was started)"
    return {
        "type": str(type.__getattribute__(kind, "__name__")),
        "message": message,
        "place": _place(error),
        "base": bases[0] if bases else None,
    }


def _place(error: BaseException) -> str:
    """Return where an exception was raised, "file.py:12", or nothing."""
    step = error.__traceback__
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    return f"{os.path.basename(step.tb_frame.f_code.co_filename)}:{step.tb_lineno}"


if __name__ == "__mp_main__":
    sys.meta_path.append(_CodecFile)
if __name__ == "__main__":
    main()
