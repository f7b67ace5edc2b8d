"""Codecs that do what codecs do wrong, one kind each. All are `Honest` but for that, and must not cost it anything.

`EXPECTED` says what a run makes of each:

- "good": its rows are those of the honest codec, whatever else it does;
- "errors": every row of it is an error;
- "some errors": at least one row is;
- "named": at least one row is an error, and a line at the end names the codec;
- "left out": it has no rows, and a line says why.
"""

import atexit
import builtins
import contextlib
import ctypes
import functools
import gc
import json
import locale
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zlib
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

from rdcodecs import Codec, RateSpec

HOME = Path.home() / ".rdbench-misbehaving"


class Honest(Codec):
    """The healthy one: everything that decoding needs is in the bytes."""

    name = "honest"
    rate = RateSpec("step", 1, 64, higher_is_larger=False)
    default_rates = (4, 32)

    def fingerprint(self):
        return {"codec": self.name}

    def encode(self, image, rate):
        height, width = image.shape[:2]
        size = height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([int(rate)])
        return size + zlib.compress((image // int(rate)).tobytes(), 9)

    def decode(self, data):
        height, width, step = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big"), data[4]
        levels = np.frombuffer(zlib.decompress(data[5:]), np.uint8).reshape(height, width, 3).astype(np.int32)
        return np.clip(levels * step + step // 2, 0, 255).astype(np.uint8)


# What belongs into the stream is kept elsewhere.


class _Keeps(Honest):
    """Sends one byte and keeps the picture by `keep`; `found` gives it back."""

    def encode(self, image, rate):
        self.keep(image.tobytes() + image.shape[0].to_bytes(2, "big") + image.shape[1].to_bytes(2, "big"))
        return b"x"

    def decode(self, data):
        kept = self.found()
        height, width = int.from_bytes(kept[-4:-2], "big"), int.from_bytes(kept[-2:], "big")
        return np.frombuffer(kept[:-4], np.uint8).reshape(height, width, 3)


class InSelf(_Keeps):
    name = "in-self"

    def keep(self, data):
        self.data = data

    def found(self):
        return self.data


class InClass(_Keeps):
    name = "in-class"

    def keep(self, data):
        type(self).data = data

    def found(self):
        return type(self).data


class InGlobal(_Keeps):
    name = "in-global"

    def keep(self, data):
        globals()["_kept"] = data

    def found(self):
        return globals()["_kept"]


class InBuiltins(_Keeps):
    name = "in-builtins"

    def keep(self, data):
        builtins._kept = data

    def found(self):
        return builtins._kept


class InCache(_Keeps):
    name = "in-cache"

    def keep(self, data):
        _cached.data = data

    def found(self):
        return _cached.data


@functools.lru_cache
def _cached():
    return None


class InEnvironment(_Keeps):
    name = "in-environment"

    def keep(self, data):
        os.environ["KEPT"] = data.hex()

    def found(self):
        return bytes.fromhex(os.environ["KEPT"])


class InWorkingDirectory(_Keeps):
    name = "in-working-directory"

    def keep(self, data):
        Path("kept").write_bytes(data)

    def found(self):
        return Path("kept").read_bytes()


class InTemporaryFolder(_Keeps):
    name = "in-temporary-folder"

    def keep(self, data):
        Path(tempfile.gettempdir(), "kept").write_bytes(data)

    def found(self):
        return Path(tempfile.gettempdir(), "kept").read_bytes()


class InHome(_Keeps):
    """Both processes have one home: what betrays it is that another picture comes out once one was encoded."""

    name = "in-home"

    def keep(self, data):
        HOME.write_bytes(data)

    def found(self):
        return HOME.read_bytes()


class InSharedMemory(_Keeps):
    name = "in-shared-memory"

    def keep(self, data):
        with contextlib.suppress(FileNotFoundError):
            old = shared_memory.SharedMemory("rdbench-misbehaving")
            old.close()
            old.unlink()
        self.memory = shared_memory.SharedMemory("rdbench-misbehaving", create=True, size=len(data))
        self.memory.buf[: len(data)] = data

    def found(self):
        memory = shared_memory.SharedMemory("rdbench-misbehaving")
        return bytes(memory.buf)


class InServer(_Keeps):
    """A forked process that listens keeps every picture by a number, which is the stream."""

    name = "in-server"
    port = 0

    def encode(self, image, rate):
        if not self.port:
            listener = socket.create_server(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            if os.fork() == 0:
                _serve(listener)
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"k" + bytes(image.shape[:2]) + image.tobytes())
            connection.shutdown(socket.SHUT_WR)
            number = connection.recv(1)
        return self.port.to_bytes(2, "big") + number

    def decode(self, data):
        with socket.create_connection(("127.0.0.1", int.from_bytes(data[:2], "big"))) as connection:
            connection.sendall(b"f" + data[2:])
            connection.shutdown(socket.SHUT_WR)
            kept = _all(connection)
        return np.frombuffer(kept[2:], np.uint8).reshape(kept[0], kept[1], 3)


def _serve(listener):
    kept = []
    while True:
        connection, _ = listener.accept()
        with connection:
            asked = _all(connection)
            if asked[:1] == b"k":
                kept.append(asked[1:])
                connection.sendall(bytes([len(kept) - 1]))
            else:
                connection.sendall(kept[asked[1]])


def _all(connection):
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


# What is returned is something else.


class _Returns(Honest):
    def decode(self, data):
        return self.changed(super().decode(data))


class ReturnsFloat(_Returns):
    name = "returns-float"

    def changed(self, image):
        return image.astype(np.float32)


class ReturnsBool(_Returns):
    name = "returns-bool"

    def changed(self, image):
        return image > 100


class ReturnsInt8(_Returns):
    name = "returns-int8"

    def changed(self, image):
        return image.view(np.int8)


class ReturnsUint16(_Returns):
    name = "returns-uint16"

    def changed(self, image):
        return image.astype(">u2")


class ReturnsRowLess(_Returns):
    name = "returns-row-less"

    def changed(self, image):
        return image[1:]


class ReturnsTransposed(_Returns):
    name = "returns-transposed"

    def changed(self, image):
        return image.transpose(2, 0, 1)


class ReturnsGray(_Returns):
    name = "returns-gray"

    def changed(self, image):
        return image[..., 0]


class ReturnsAlpha(_Returns):
    name = "returns-alpha"

    def changed(self, image):
        return np.dstack([image, image[..., :1]])


class ReturnsHuge(_Returns):
    name = "returns-huge"

    def changed(self, image):
        return np.zeros((3000, 3000, 3), np.uint8)


class ReturnsList(_Returns):
    name = "returns-list"

    def changed(self, image):
        return image.tolist()


class ReturnsNone(_Returns):
    name = "returns-none"

    def changed(self, image):
        return None


class ReturnsMasked(_Returns):
    name = "returns-masked"

    def changed(self, image):
        return np.ma.masked_greater(image, 200)


class _Kind(np.ndarray):
    def __array_finalize__(self, other):
        pass


class ReturnsSubclass(_Returns):
    name = "returns-subclass"

    def changed(self, image):
        return image.view(_Kind)


class ReturnsTensor(_Returns):
    name = "returns-tensor"

    def check(self):
        import torch  # noqa: F401 - here, where its time does not count

    def changed(self, image):
        import torch

        return torch.from_numpy(image)


class ReturnsStrided(_Returns):
    """Right but for its memory layout, which is its own business."""

    name = "returns-strided"

    def changed(self, image):
        return np.asfortranarray(image)


class EncodesBytearray(Honest):
    name = "encodes-bytearray"

    def encode(self, image, rate):
        return bytearray(super().encode(image, rate))


class EncodesText(Honest):
    name = "encodes-text"

    def encode(self, image, rate):
        return super().encode(image, rate).hex()


class EncodesMemoryview(Honest):
    name = "encodes-memoryview"

    def encode(self, image, rate):
        return memoryview(super().encode(image, rate))


class _Bytes(bytes):
    def __len__(self):
        return 1


class EncodesSubclass(Honest):
    """Bytes that say they are fewer."""

    name = "encodes-subclass"

    def encode(self, image, rate):
        return _Bytes(super().encode(image, rate))


# What is raised is not what can be expected.


class RaisesInInit(Honest):
    name = "raises-in-init"

    def __init__(self):
        raise RuntimeError("no device")


class ExitsInInit(Honest):
    name = "exits-in-init"

    def __init__(self):
        sys.exit(0)


class RaisesInCheck(Honest):
    name = "raises-in-check"

    def check(self):
        raise RuntimeError("no device")


class ExitsInCheck(Honest):
    name = "exits-in-check"

    def check(self):
        os._exit(0)


class HangsInCheck(Honest):
    name = "hangs-in-check"

    def check(self):
        time.sleep(3600)


class RaisesInFingerprint(Honest):
    name = "raises-in-fingerprint"

    def fingerprint(self):
        raise KeyboardInterrupt


class FingerprintOfObjects(Honest):
    name = "fingerprint-of-objects"

    def fingerprint(self):
        return {"lock": object()}


class FingerprintIsList(Honest):
    name = "fingerprint-is-list"

    def fingerprint(self):
        return ["honest"]


class FingerprintRecurses(Honest):
    name = "fingerprint-recurses"

    def fingerprint(self):
        made = {}
        made["me"] = made
        return made


class FingerprintChanges(Honest):
    name = "fingerprint-changes"

    def fingerprint(self):
        return {"now": time.time_ns()}


class NameRaises(Honest):
    @property
    def name(self):
        raise RuntimeError("nameless")


class NoRate(Honest):
    name = "no-rate"
    rate = None


class ExitsInDecode(Honest):
    name = "exits-in-decode"

    def decode(self, data):
        sys.exit(0)


class InterruptsInEncode(Honest):
    name = "interrupts-in-encode"

    def encode(self, image, rate):
        raise KeyboardInterrupt


class _UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__("a lock cannot travel")
        self.lock = threading.Lock()


class RaisesUnpicklable(Honest):
    name = "raises-unpicklable"

    def decode(self, data):
        raise _UnpicklableError(1, 2)


class _SpeechlessError(Exception):
    def __str__(self):
        raise SystemExit(3)


class RaisesSpeechless(Honest):
    name = "raises-speechless"

    def decode(self, data):
        raise _SpeechlessError


class RaisesSurrogates(Honest):
    name = "raises-surrogates"

    def decode(self, data):
        raise ValueError("bad name \udcff\nsecond line \x1b[31m" + "x" * 100_000)


class RaisesStopIteration(Honest):
    name = "raises-stop-iteration"

    def decode(self, data):
        raise StopIteration


class _Strange(BaseException):
    pass


class RaisesBaseException(Honest):
    name = "raises-base-exception"

    def decode(self, data):
        raise _Strange("neither exit nor interrupt")


class Recurses(Honest):
    name = "recurses"

    def decode(self, data):
        return self.decode(data)


# The process ends, or does not.


class LeavesAtOnce(Honest):
    name = "leaves-at-once"

    def decode(self, data):
        os._exit(0)


class KillsItself(Honest):
    name = "kills-itself"

    def encode(self, image, rate):
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Honest):
    name = "segfaults"

    def decode(self, data):
        ctypes.string_at(0)


class Aborts(Honest):
    name = "aborts"

    def encode(self, image, rate):
        os.abort()


class KillsKeeper(Honest):
    name = "kills-keeper"

    def encode(self, image, rate):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(3600)


class KillsGroup(Honest):
    name = "kills-group"

    def encode(self, image, rate):
        os.killpg(0, signal.SIGKILL)


class Loops(Honest):
    name = "loops"

    def encode(self, image, rate):
        while True:
            pass


class Sleeps(Honest):
    name = "sleeps"

    def decode(self, data):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3600)


class StopsItself(Honest):
    name = "stops-itself"

    def decode(self, data):
        os.kill(os.getpid(), signal.SIGSTOP)
        return super().decode(data)


class Rings(Honest):
    """An alarm goes off after the call."""

    name = "rings"

    def decode(self, data):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        return super().decode(data)


# Something stays behind.


class LeavesThread(Honest):
    name = "leaves-thread"

    def decode(self, data):
        threading.Thread(target=time.sleep, args=(3600,)).start()
        return super().decode(data)


class LeavesHandler(Honest):
    name = "leaves-handler"

    def decode(self, data):
        atexit.register(time.sleep, 3600)
        return super().decode(data)


class LeavesChild(Honest):
    name = "leaves-child"

    def decode(self, data):
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
        return super().decode(data)


class LeavesGrandchild(Honest):
    name = "leaves-grandchild"

    def decode(self, data):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 1024)
                time.sleep(3600)
            os._exit(0)
        return super().decode(data)


class LeavesFork(Honest):
    """Both sides of a fork come back."""

    name = "leaves-fork"

    def decode(self, data):
        os.fork()
        return super().decode(data)


class LeavesPool(Honest):
    name = "leaves-pool"

    def encode(self, image, rate):
        from concurrent.futures import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(1)
        self.pool.submit(time.sleep, 3600)
        return super().encode(image, rate)


class LeavesFiles(Honest):
    name = "leaves-files"

    def encode(self, image, rate):
        folder = Path(tempfile.mkdtemp())
        (folder / "left").write_bytes(bytes(1000))
        folder.chmod(0o500)
        Path("left").write_bytes(bytes(1000))
        return super().encode(image, rate)


# The process's own state is turned over.


class _Disturbs(Honest):
    """Does `disturb` before each call."""

    def encode(self, image, rate):
        self.disturb()
        return super().encode(image, rate)

    def decode(self, data):
        self.disturb()
        return super().decode(data)


class ClosesDescriptors(_Disturbs):
    name = "closes-descriptors"

    def disturb(self):
        os.closerange(3, 1024)


class ClosesStandard(_Disturbs):
    name = "closes-standard"

    def disturb(self):
        for descriptor in (0, 1, 2):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        sys.stdin = sys.stdout = sys.stderr = None


class PrintsMuch(_Disturbs):
    name = "prints-much"

    def disturb(self):
        line = "x" * 999 + "\n"
        os.write(1, b"\x00{not json}\n")
        for _ in range(2000):
            sys.stdout.write(line)
            sys.stderr.write(line)


class Wanders(_Disturbs):
    name = "wanders"

    def disturb(self):
        os.chdir("/")


class TakesRights(_Disturbs):
    name = "takes-rights"

    def disturb(self):
        os.umask(0o777)


class SpeaksOtherwise(_Disturbs):
    name = "speaks-otherwise"

    def disturb(self):
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, "C")
        os.environ["LC_ALL"] = "de_DE.UTF-8"


class IgnoresSignals(_Disturbs):
    name = "ignores-signals"

    def disturb(self):
        for number in range(1, 32):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)


class WarnsHard(_Disturbs):
    name = "warns-hard"

    def disturb(self):
        warnings.simplefilter("error")


class TurnsTorch(_Disturbs):
    name = "turns-torch"

    def check(self):
        import torch  # noqa: F401 - here, where its time does not count

    def disturb(self):
        import torch

        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        torch.set_default_device("meta")


class RaisesInNumpy(_Disturbs):
    name = "raises-in-numpy"

    def disturb(self):
        np.seterr(all="raise")


class PatchesNumpy(_Disturbs):
    name = "patches-numpy"

    def disturb(self):
        np.mean = np.array_equal = lambda *_, **__: 0.0


class PatchesJson(_Disturbs):
    name = "patches-json"

    def disturb(self):
        json.dumps = json.loads = lambda *_, **__: "{}"


class PatchesClock(_Disturbs):
    name = "patches-clock"

    def disturb(self):
        time.perf_counter = time.monotonic = time.time = lambda: -1e9


class PatchesRead(_Disturbs):
    name = "patches-read"

    def disturb(self):
        os.read = os.write = lambda *_: b""


class SwitchesGcOff(_Disturbs):
    name = "switches-gc-off"

    def disturb(self):
        gc.disable()


class LowersLimits(_Disturbs):
    name = "lowers-limits"

    def disturb(self):
        sys.setrecursionlimit(100)


class Traces(_Disturbs):
    name = "traces"

    def disturb(self):
        sys.settrace(lambda *_: None)
        sys.excepthook = threading.excepthook = None


class EmptiesPath(_Disturbs):
    name = "empties-path"

    def disturb(self):
        sys.path.clear()
        os.environ.clear()


class DropsModules(_Disturbs):
    name = "drops-modules"

    def disturb(self):
        for module in list(sys.modules):
            if module.startswith(("rdcodecs", "json", "tempfile")):
                del sys.modules[module]


# Two decodes of the same bytes differ.


class _Unseeded(Honest):
    def decode(self, data):
        image = super().decode(data).astype(np.int32)
        return np.clip(image + self.drawn(image.shape), 0, 255).astype(np.uint8)


class UnseededNumpy(_Unseeded):
    name = "unseeded-numpy"

    def drawn(self, shape):
        return np.random.randint(-4, 5, shape)  # noqa: NPY002 - as it is done


class UnseededGenerator(_Unseeded):
    name = "unseeded-generator"

    def drawn(self, shape):
        return np.random.default_rng().integers(-4, 5, shape)


class UnseededRandom(_Unseeded):
    name = "unseeded-random"

    def drawn(self, shape):
        return np.array([random.randint(-4, 4) for _ in range(int(np.prod(shape)))]).reshape(shape)


class UnseededTorch(_Unseeded):
    name = "unseeded-torch"

    def check(self):
        import torch  # noqa: F401 - here, where its time does not count

    def drawn(self, shape):
        import torch

        return torch.randint(-4, 5, shape).numpy()


class UnseededTime(_Unseeded):
    name = "unseeded-time"

    def drawn(self, shape):
        return np.random.default_rng(time.time_ns()).integers(-4, 5, shape)


class UnseededPid(_Unseeded):
    name = "unseeded-pid"

    def drawn(self, shape):
        return np.random.default_rng(os.getpid()).integers(-4, 5, shape)


class UnseededHash(_Unseeded):
    """Strings hash otherwise in every process."""

    name = "unseeded-hash"

    def drawn(self, shape):
        return np.random.default_rng(abs(hash("seed"))).integers(-4, 5, shape)


class UnseededAddress(_Unseeded):
    name = "unseeded-address"

    def drawn(self, shape):
        return np.random.default_rng(id(object())).integers(-4, 5, shape)


class CountsDecodes(_Unseeded):
    """Depends on how often it was asked."""

    name = "counts-decodes"
    count = 0

    def drawn(self, shape):
        type(self).count += 1
        return np.random.default_rng(self.count).integers(-4, 5, shape)


# The image that was given is written into.


class _Scribbles(Honest):
    def encode(self, image, rate):
        data = super().encode(image, rate)
        self.scribble(image)
        return data


class ScribblesPlainly(_Scribbles):
    name = "scribbles-plainly"

    def scribble(self, image):
        image[:] = 0


class ScribblesUnlocked(_Scribbles):
    name = "scribbles-unlocked"

    def scribble(self, image):
        image.setflags(write=True)
        image[:] = 0


class ScribblesByTensor(_Scribbles):
    name = "scribbles-by-tensor"

    def check(self):
        import torch  # noqa: F401 - here, where its time does not count

    def scribble(self, image):
        import torch

        torch.from_numpy(image).zero_()


class ScribblesByAddress(_Scribbles):
    name = "scribbles-by-address"

    def scribble(self, image):
        ctypes.memset(image.ctypes.data, 0, image.nbytes)


class ScribblesByInterface(_Scribbles):
    name = "scribbles-by-interface"

    def scribble(self, image):
        class Window:
            __array_interface__ = image.__array_interface__ | {"data": (image.ctypes.data, False)}

        np.asarray(Window())[0, 0] = 7


class ScribblesOnePixel(_Scribbles):
    name = "scribbles-one-pixel"

    def scribble(self, image):
        ctypes.memset(image.ctypes.data + image.nbytes - 1, int(image.flat[-1]) ^ 1, 1)


# What may cost memory, or the codec itself.


class Allocates(Honest):
    name = "allocates"

    def encode(self, image, rate):
        held = []
        while True:
            held.append(np.ones(1 << 22, np.uint8))
            time.sleep(0.005)


class AllocatesInChild(Honest):
    name = "allocates-in-child"

    def encode(self, image, rate):
        code = "import time\nheld = []\nwhile True:\n    held.append(b'x' * (1 << 22))\n    time.sleep(0.005)"
        subprocess.run([sys.executable, "-c", code], check=True)


class DeletesItself(Honest):
    name = "deletes-itself"

    def encode(self, image, rate):
        Path(__file__).unlink(missing_ok=True)
        return super().encode(image, rate)


class EditsItself(Honest):
    name = "edits-itself"

    def encode(self, image, rate):
        with Path(__file__).open("a") as file:
            file.write("\n# edited\n")
        return super().encode(image, rate)


_CONTRACT = "ContractError: "
EXPECTED: dict[type[Honest], tuple[str, str]] = {
    InSelf: ("errors", "has no attribute 'data'"),
    InClass: ("errors", "has no attribute 'data'"),
    InGlobal: ("errors", "KeyError: '_kept'"),
    InBuiltins: ("errors", "has no attribute '_kept'"),
    InCache: ("errors", "has no attribute 'data'"),
    InEnvironment: ("errors", "KeyError: 'KEPT'"),
    InWorkingDirectory: ("errors", "FileNotFoundError"),
    InTemporaryFolder: ("errors", "FileNotFoundError"),
    InHome: ("named", "DeterminismError: "),
    InSharedMemory: ("named", "DeterminismError: "),
    InServer: ("named", "DeterminismError: "),
    ReturnsFloat: ("errors", f"{_CONTRACT}decode returned float32"),
    ReturnsBool: ("errors", f"{_CONTRACT}decode returned bool"),
    ReturnsInt8: ("errors", f"{_CONTRACT}decode returned int8"),
    ReturnsUint16: ("errors", f"{_CONTRACT}decode returned >u2"),
    ReturnsRowLess: ("errors", f"{_CONTRACT}decode returned uint8 of shape"),
    ReturnsTransposed: ("errors", f"{_CONTRACT}decode returned uint8 of shape (3, "),
    ReturnsGray: ("errors", f"{_CONTRACT}decode returned uint8 of shape"),
    ReturnsAlpha: ("errors", f"{_CONTRACT}decode returned uint8 of shape"),
    ReturnsHuge: ("errors", f"{_CONTRACT}decode returned uint8 of shape (3000, 3000, 3)"),
    ReturnsList: ("errors", f"{_CONTRACT}decode returned list, not numpy.ndarray"),
    ReturnsNone: ("errors", f"{_CONTRACT}decode returned NoneType"),
    ReturnsMasked: ("errors", f"{_CONTRACT}decode returned numpy.ma.MaskedArray, not numpy.ndarray"),
    ReturnsSubclass: ("errors", "_Kind, not numpy.ndarray"),
    ReturnsTensor: ("errors", f"{_CONTRACT}decode returned torch.Tensor"),
    ReturnsStrided: ("good", ""),
    EncodesBytearray: ("errors", f"{_CONTRACT}encode returned bytearray, not bytes"),
    EncodesText: ("errors", f"{_CONTRACT}encode returned str, not bytes"),
    EncodesMemoryview: ("errors", f"{_CONTRACT}encode returned memoryview, not bytes"),
    EncodesSubclass: ("errors", "_Bytes, not bytes"),
    RaisesInInit: ("left out", "RuntimeError: no device"),
    ExitsInInit: ("left out", "SystemExit"),
    RaisesInCheck: ("left out", "RuntimeError: no device"),
    ExitsInCheck: ("left out", "process ended"),
    HangsInCheck: ("left out", "time limit"),
    RaisesInFingerprint: ("left out", "KeyboardInterrupt"),
    FingerprintOfObjects: ("left out", "fingerprint() holds what cannot be written down: a object"),
    FingerprintIsList: ("left out", "fingerprint() returned list"),
    FingerprintRecurses: ("left out", "fingerprint() holds what cannot be written down"),
    FingerprintChanges: ("errors", "FingerprintError: the codec here is not the one that was planned: now "),
    NameRaises: ("left out", "nameless"),
    NoRate: ("left out", "its rate must be a RateSpec"),
    ExitsInDecode: ("errors", "SystemExit: 0"),
    InterruptsInEncode: ("errors", "KeyboardInterrupt"),
    RaisesUnpicklable: ("errors", "_UnpicklableError: a lock cannot travel"),
    RaisesSpeechless: ("errors", "_SpeechlessError: "),
    RaisesSurrogates: ("errors", r"ValueError: bad name"),
    RaisesStopIteration: ("errors", "StopIteration"),
    RaisesBaseException: ("errors", "_Strange: neither exit nor interrupt"),
    Recurses: ("errors", "RecursionError"),
    LeavesAtOnce: ("errors", "CodecCrashError: the codec's process ended while it worked on this (exit status 0)"),
    KillsItself: ("errors", "(SIGKILL)"),
    Segfaults: ("errors", "(SIGSEGV)"),
    Aborts: ("errors", "(SIGABRT)"),
    KillsKeeper: ("errors", "CodecCrashError"),
    KillsGroup: ("errors", "CodecCrashError"),
    Loops: ("errors", "stopped after its time limit"),
    Sleeps: ("errors", "stopped after its time limit"),
    StopsItself: ("errors", "stopped after its time limit"),
    Rings: ("good", ""),
    LeavesThread: ("good", ""),
    LeavesHandler: ("good", ""),
    LeavesChild: ("good", ""),
    LeavesGrandchild: ("good", ""),
    LeavesFork: ("good", ""),
    LeavesPool: ("good", ""),
    LeavesFiles: ("good", ""),
    ClosesDescriptors: ("errors", "CodecCrashError"),
    ClosesStandard: ("good", ""),
    PrintsMuch: ("good", ""),
    Wanders: ("good", ""),
    TakesRights: ("good", ""),
    SpeaksOtherwise: ("good", ""),
    IgnoresSignals: ("good", ""),
    WarnsHard: ("good", ""),
    TurnsTorch: ("good", ""),
    RaisesInNumpy: ("good", ""),
    PatchesNumpy: ("good", ""),
    PatchesJson: ("good", ""),
    PatchesClock: ("good", ""),
    PatchesRead: ("good", ""),
    SwitchesGcOff: ("good", ""),
    LowersLimits: ("good", ""),
    Traces: ("good", ""),
    EmptiesPath: ("good", ""),
    DropsModules: ("good", ""),
    UnseededNumpy: ("named", "DeterminismError: "),
    UnseededGenerator: ("named", "DeterminismError: "),
    UnseededRandom: ("named", "DeterminismError: "),
    UnseededTorch: ("named", "DeterminismError: "),
    UnseededTime: ("named", "DeterminismError: "),
    UnseededPid: ("named", "DeterminismError: "),
    UnseededHash: ("named", "DeterminismError: "),
    UnseededAddress: ("named", "DeterminismError: "),
    CountsDecodes: ("named", "DeterminismError: "),
    ScribblesPlainly: ("errors", "ValueError: assignment destination is read-only"),
    ScribblesUnlocked: ("errors", "ValueError: "),
    ScribblesByTensor: ("errors", f"{_CONTRACT}the codec wrote into the image it was given"),
    ScribblesByAddress: ("errors", f"{_CONTRACT}the codec wrote into the image it was given"),
    ScribblesByInterface: ("errors", f"{_CONTRACT}the codec wrote into the image it was given"),
    ScribblesOnePixel: ("errors", f"{_CONTRACT}the codec wrote into the image it was given"),
    Allocates: ("errors", "CodecMemoryError: stopped: it used"),
    AllocatesInChild: ("errors", "CodecMemoryError: stopped: it used"),
    DeletesItself: ("some errors", "UnknownCodecError: no codec file"),
    EditsItself: ("some errors", "FingerprintError: the codec here is not the one that was planned: source.sha256"),
}
"""What a run makes of each codec, and what its errors, or the line on it, say."""

_BODY = """
from misbehaving_honest import Honest


class Codec(Honest):
    name = "{name}"
"""
FILES: dict[str, tuple[str, str, str]] = {
    "raises-at-import": ("1 / 0\n", "left out", "ZeroDivisionError"),
    "lacks-a-package": ("import surely_not_installed\n", "left out", "surely_not_installed"),
    "exits-at-import": ("raise SystemExit(0)\n", "left out", "SystemExit"),
    "leaves-at-import": ("import os\nos._exit(0)\n", "left out", "process ended"),
    "hangs-at-import": ("import time\ntime.sleep(3600)\n", "left out", "time limit"),
    "prints-at-import": ("import os\nprint('{' * 99999)\nos.write(1, b'\\xff\\n')\n", "good", ""),
    "interrupts-at-import": ("raise KeyboardInterrupt\n", "left out", "KeyboardInterrupt"),
    "forks-at-import": ("import os, time\nif os.fork() == 0:\n    time.sleep(3600)\n", "good", ""),
    "shadows-a-module": ("", "left out", "not the module that was meant"),
    "patches-at-import": ("import zlib\nzlib.compress = lambda data, level=9: b'x'\n", "errors", "error: "),
}
"""Files by the name of their codec: what stands before the class, what a run makes of it, and what the line says."""


def source_of(name: str) -> str:
    """Return the source of a file of `FILES`."""
    return FILES[name][0] + _BODY.replace("{name}", name)
