import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import faulty_codecs
from rdbench.describing import describe_codec
from rdbench.hosting import CodecFailureError, Configuration, FingerprintError, Lane, compare_fingerprints, own_lane
from rdbench.hosting.lane import image_sha256
from rdcodecs import Image

QUANTIZER = f"{faulty_codecs.__file__}:Quantizer"
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.fixture
def lane() -> Iterator[Lane]:
    made = Lane()
    yield made
    made.close()


def configuration(codec: str, options: dict[str, Any] | None = None, **changes: Any) -> Configuration:
    described = describe_codec(codec, options or {}, limit_s=60, complete=True)
    assert described.fingerprint is not None
    return Configuration(codec, options or {}, described.fingerprint, **{"costly": described.costly, **changes})


def encode(lane: Lane, wanted: Configuration, image: Image = IMAGE, rate: float = 16) -> bytes:
    return lane.encode(wanted, image, image_sha256(image), rate, None, deadline=time.monotonic() + 60)[0]


def decode(lane: Lane, wanted: Configuration, data: bytes, **options: Any) -> Image:
    return lane.decode(wanted, data, options, IMAGE.shape, deadline=time.monotonic() + 60)[0]


def write(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(
        "import os\nfrom pathlib import Path\nimport numpy as np\nfrom faulty_codecs import Quantizer\n"
        f"class Mine(Quantizer):\n    name = 'mine'\n{body}"
    )
    return f"{path}:Mine"


def test_what_comes_back_is_what_the_codec_makes(lane: Lane) -> None:
    wanted = configuration(QUANTIZER)
    codec = faulty_codecs.Quantizer()
    data = encode(lane, wanted)
    assert data == codec.encode(IMAGE, 16)
    np.testing.assert_array_equal(decode(lane, wanted, data, steps=3), codec.decode(data, steps=3))


def test_a_larger_image_follows_a_smaller_one_and_back(lane: Lane) -> None:
    wanted = configuration(QUANTIZER)
    for shape in ((16, 16, 3), (300, 500, 3), (17, 31, 3)):
        image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        data = encode(lane, wanted, image, 1)
        decoded, _ = lane.decode(wanted, data, {}, shape, deadline=time.monotonic() + 60)
        np.testing.assert_array_equal(decoded, image)


def test_encoder_and_decoder_are_two_processes_and_neither_is_this_one(lane: Lane, tmp_path: Path) -> None:
    codec = write(
        tmp_path,
        "    def encode(self, image, rate):\n        return os.getpid().to_bytes(4, 'big')\n"
        "    def decode(self, data, **_):\n        value = os.getpid() - int.from_bytes(data, 'big')\n"
        f"        return np.full({IMAGE.shape}, value != 0, np.uint8)\n",
    )
    wanted = configuration(codec)
    data = encode(lane, wanted)
    assert int.from_bytes(data, "big") != os.getpid()
    assert decode(lane, wanted, data).all()


def test_a_costly_codec_has_one_process_with_two_instances_of_two_modules(lane: Lane, tmp_path: Path) -> None:
    codec = write(
        tmp_path,
        "    costly = True\n"
        "    def encode(self, image, rate):\n"
        "        globals()['kept'] = type(self).kept = self.kept = 1\n        return os.getpid().to_bytes(4, 'big')\n"
        "    def decode(self, data, **_):\n"
        "        left = 'kept' in globals() or hasattr(self, 'kept')\n"
        "        same = os.getpid() == int.from_bytes(data, 'big')\n"
        f"        return np.full({IMAGE.shape}, 2 * left + same, np.uint8)\n",
    )
    wanted = configuration(codec)
    assert (decode(lane, wanted, encode(lane, wanted)) == 1).all()


def test_three_threads_never_share_a_process(tmp_path: Path) -> None:
    wanted = configuration(
        write(tmp_path, "    def encode(self, image, rate):\n        return str(os.getpid()).encode()\n")
    )
    together = threading.Barrier(3)

    def work(_: int) -> set[bytes]:
        together.wait()
        return {encode(own_lane(), wanted) for _ in range(3)}

    with ThreadPoolExecutor(3) as pool:
        pids = list(pool.map(work, range(3)))
    assert [len(each) for each in pids] == [1, 1, 1]
    assert len(set.union(*pids)) == 3
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(int(pid)) for each in pids for pid in each):
        assert time.monotonic() < deadline, "processes end with the threads that they belong to"
        time.sleep(0.05)


def test_the_image_that_is_given_does_not_change_whatever_a_codec_does_to_its_copy(lane: Lane, tmp_path: Path) -> None:
    wanted = configuration(
        write(
            tmp_path,
            "    def encode(self, image, rate):\n        import ctypes\n"
            "        ctypes.memset(image.ctypes.data, 0, 10)\n        return b'x'\n",
        )
    )
    before = IMAGE.copy()
    with pytest.raises(CodecFailureError, match=r"^ContractError: the codec wrote into the image it was given"):
        encode(lane, wanted)
    np.testing.assert_array_equal(IMAGE, before)


def test_the_copy_is_contiguous_read_only_and_exactly_an_array(lane: Lane, tmp_path: Path) -> None:
    wanted = configuration(
        write(
            tmp_path,
            "    def encode(self, image, rate):\n"
            "        flags = image.flags.c_contiguous, image.flags.writeable, type(image) is np.ndarray\n"
            "        return repr((flags, image.dtype.str, image.shape)).encode()\n",
        )
    )
    odd = np.asfortranarray(IMAGE)[:, ::2]
    data = lane.encode(wanted, odd, image_sha256(np.ascontiguousarray(odd)), 16, None, deadline=time.monotonic() + 60)[
        0
    ]
    assert data == b"((True, False, True), '|u1', (24, 20, 3))"


def test_a_codec_that_ends_between_two_calls_is_started_again(lane: Lane, tmp_path: Path) -> None:
    wanted = configuration(
        write(
            tmp_path,
            "    def encode(self, image, rate):\n        import threading\n"
            "        threading.Timer(0.05, os._exit, (0,)).start()\n        return str(os.getpid()).encode()\n",
        )
    )
    first = encode(lane, wanted)
    time.sleep(0.5)
    assert encode(lane, wanted) != first


def test_an_image_of_another_size_and_other_pixels_never_reach_the_score(lane: Lane, tmp_path: Path) -> None:
    wanted = configuration(
        write(tmp_path, "    def decode(self, data, **_):\n        return np.zeros((2000, 2000, 3), np.uint8)\n")
    )
    message = r"^ContractError: decode returned uint8 of shape \(2000, 2000, 3\), not uint8 of shape \(24, 40, 3\)$"
    with pytest.raises(CodecFailureError, match=message):
        decode(lane, wanted, b"x")


def test_a_source_that_changed_since_it_was_planned_is_refused(lane: Lane, tmp_path: Path) -> None:
    codec = write(tmp_path, "")
    wanted = configuration(codec)
    write(tmp_path, "    # edited\n")
    with pytest.raises(
        FingerprintError, match=r"the codec here is not the one that was planned: source\.sha256 \w+ here"
    ):
        encode(lane, wanted)


def test_a_codec_sees_neither_the_terminal_nor_the_protocol(lane: Lane, tmp_path: Path) -> None:
    wanted = configuration(
        write(
            tmp_path,
            "    def encode(self, image, rate):\n        os.write(1, b'{}' * 100_000)\n        print('x' * 100_000)\n"
            "        return repr((os.read(0, 10), os.getsid(0) == os.getpid())).encode()\n",
        )
    )
    assert encode(lane, wanted) == b"(b'', True)"


def test_a_crash_says_what_the_codec_said_last(lane: Lane, tmp_path: Path) -> None:
    wanted = configuration(
        write(
            tmp_path,
            "    def encode(self, image, rate):\n        os.write(2, b'warming up\\nError: no licence\\n')\n"
            "        os._exit(7)\n",
        )
    )
    message = r"ended while it worked on this \(exit status 7\): Error: no licence$"
    with pytest.raises(CodecFailureError, match=message):
        encode(lane, wanted)


@pytest.mark.parametrize(
    ("planned", "here", "said"),
    [
        ({"pillow": "13.0.0"}, {"pillow": "11.3.0"}, "pillow 11.3.0 here, 13.0.0 planned"),
        ({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}, "a.b 3 here, 1 planned"),
        ({"a": 1}, {"b": 1}, "a nothing here, 1 planned; b 1 here, nothing planned"),
        ({"sha": "0" * 64}, {"sha": "1" * 64}, "sha 111111111111 here, 000000000000 planned"),
        ({str(i): 0 for i in range(5)}, {str(i): 1 for i in range(5)}, "2 1 here, 0 planned, and 2 more"),
        ({"a": True}, {"a": 1}, "a 1 here, True planned"),
    ],
)
def test_what_differs_from_the_plan_is_named(planned: dict[str, Any], here: dict[str, Any], said: str) -> None:
    with pytest.raises(FingerprintError) as caught:
        compare_fingerprints(planned, here)
    assert str(caught.value).endswith(said)


def test_idle_processes_are_few(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdbench.hosting.lane.MOST_HOSTS", 4)
    streams = {}
    for level in (1, 2, 3, 1):
        wanted = configuration(QUANTIZER, {"level": level})
        data = encode(lane, wanted)
        assert streams.setdefault(level, data) == data
        assert decode(lane, wanted, data).shape == IMAGE.shape
        assert len(lane._hosts) <= 4


def test_a_stream_may_hold_a_pickle_of_a_class_of_the_codecs_file(lane: Lane, tmp_path: Path) -> None:
    codec = write(
        tmp_path,
        "    def encode(self, image, rate):\n"
        "        import pickle\n        return pickle.dumps(Size(*image.shape[:2]))\n"
        "    def decode(self, data, **_):\n        import pickle\n        size = pickle.loads(data)\n"
        "        return np.full((*size, 3), 7, np.uint8)\n"
        "from typing import NamedTuple\nclass Size(NamedTuple):\n    height: int\n    width: int\n",
    )
    wanted = configuration(codec)
    assert (decode(lane, wanted, encode(lane, wanted)) == 7).all()


def test_processes_that_a_codec_spawns_find_its_functions(lane: Lane, tmp_path: Path) -> None:
    codec = write(
        tmp_path,
        "    def encode(self, image, rate):\n"
        "        from concurrent.futures import ProcessPoolExecutor\n        from multiprocessing import get_context\n"
        "        with ProcessPoolExecutor(1, get_context('spawn')) as pool:\n"
        "            return pool.submit(double, 21).result().to_bytes(1, 'big')\n"
        "def double(value):\n    return 2 * value\n",
    )
    assert encode(lane, configuration(codec)) == bytes([42])


def test_a_large_stream_takes_no_longer_than_its_size_asks_for(lane: Lane, tmp_path: Path) -> None:
    codec = write(
        tmp_path,
        "    def encode(self, image, rate):\n        return bytes(image.shape[0]) + bytes(150_000_000)\n"
        f"    def decode(self, data, **_):\n        return np.full({IMAGE.shape}, len(data) % 251, np.uint8)\n",
    )
    wanted = configuration(codec, limit_s=30)
    data = encode(lane, wanted)
    assert (decode(lane, wanted, data) == len(data) % 251).all()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")
def test_what_a_codec_has_started_ends_also_where_it_kills_its_keeper(lane: Lane, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    codec = write(
        tmp_path,
        "    def encode(self, image, rate):\n        import subprocess, time\n"
        "        child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"        Path({str(pid)!r}).write_text(str(child.pid))\n"
        "        os.kill(os.getppid(), 9)\n        time.sleep(60)\n",
    )
    with pytest.raises(CodecFailureError, match="SIGKILL"):
        encode(lane, configuration(codec))
    left = int(pid.read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(left) and psutil.Process(left).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "line",
    [
        '{"seconds": NaN, "bytes": 0, "protocol": 1}',
        '{"error": 5, "bytes": 0}',
        '{"bytes": 0}',
        '{"shape": 1, "bytes": 0}',
    ],
)
def test_a_line_that_no_host_sends_is_no_answer(line: str, lane: Lane, tmp_path: Path) -> None:
    codec = write(
        tmp_path,
        f"    def encode(self, image, rate):\n        line = {line.encode() + chr(10).encode()!r}\n"
        "        for descriptor in range(200, 203):\n            try:\n                os.write(descriptor, line)\n"
        "            except OSError:\n                pass\n"
        "        import time\n        time.sleep(60)\n",
    )
    with pytest.raises(CodecFailureError, match="it sent a line that is no answer"):
        encode(lane, configuration(codec))


def test_a_file_that_is_missing_in_init_is_said_to_be_missing_where_the_run_was_started(tmp_path: Path) -> None:
    codec = write(tmp_path, "    def __init__(self):\n        open('weights.bin')\n")
    with pytest.raises(Exception, match=r"weights.bin' \(relative to the folder in which the run was started\)"):
        describe_codec(codec, {}, limit_s=60, complete=True)
