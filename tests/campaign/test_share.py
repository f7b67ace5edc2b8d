"""A small share of `make campaign`, and the campaign's own judgement."""

from random import Random

import pytest
from tests.campaign import damage, streams
from tests.campaign.figures import Figures, table

from forged_streams import forge


def subject(codec: str) -> streams.Subject:
    return next(subject for subject in streams.SUBJECTS if subject.codec == codec)


def test_a_share_of_the_damaged_streams() -> None:
    found = streams.run(400, 1, [subject(codec) for codec in ("jpeg", "webp", "jpeg2000", "hyperprior")])
    assert sum(item.tried for item in found) == 400
    assert [failure for item in found for failure in item.failures] == []
    assert any("forged and refused" in note for note in found[-1].notes)


def test_the_same_seed_damages_in_the_same_way() -> None:
    stream = bytes(range(200))
    for kind, function in damage.DAMAGES.items():
        made = [function(stream, Random(f"{kind} {seed}")) for seed in (0, 0, 1, 2, 3)]
        assert made[0] == made[1]
        assert any(item != stream for item in made)


DIGEST = bytes(32)
ANSWER = {"noise": "", "seconds": 0.1, "mib": 1.0}
STREAM = streams._Stream(b"", (64, 48))
RIGHT = forge(DIGEST, size=(64, 48), payload=b"1234")


@pytest.mark.parametrize(
    ("answer", "data", "digest", "kind", "outcome"),
    [
        ({"error": "StreamError: it", "typed": True, "one_line": True}, b"x", b"", "truncated", "refused"),
        ({"size": [64, 48]}, b"x", b"", "one bit", "drawn"),
        ({"size": [64, 49]}, b"x", b"", "one bit", "drawn in another size"),
        ({"size": [64, 48]}, RIGHT, DIGEST, "forged", "forged and drawn"),
        ({"size": [64, 48]}, RIGHT, DIGEST, "one bit", "passed the checksum by chance"),
    ],
)
def test_what_holds(answer: dict[str, object], data: bytes, digest: bytes, kind: str, outcome: str) -> None:
    assert streams._judged({**ANSWER, **answer}, data, STREAM, digest, kind) == (outcome, "")


@pytest.mark.parametrize(
    ("answer", "data", "digest", "fault"),
    [
        ({"error": "ValueError: it", "typed": False, "one_line": True}, b"x", b"", "it raised ValueError: it"),
        ({"error": "StreamError: a\nb", "typed": True, "one_line": False}, b"x", b"", "not one line"),
        ({"size": "<class 'list'>"}, b"x", b"", "it returned <class 'list'>"),
        ({"size": [64, 48]}, RIGHT[:-1], DIGEST, "its checksum is wrong, and it was drawn"),
        ({"size": [64, 49]}, RIGHT, DIGEST, "it was drawn as"),
        ({"size": [64, 48], "seconds": 3.0}, b"x", b"", "it took 3.0 s"),
        ({"size": [64, 48], "mib": 600.0}, b"x", b"", "it took 600 MiB"),
        ({"size": [64, 48], "noise": "warning"}, b"x", b"", "it printed 'warning'"),
        ({"lost": "it ended the process with status -11"}, b"x", b"", "status -11"),
    ],
)
def test_what_does_not(answer: dict[str, object], data: bytes, digest: bytes, fault: str) -> None:
    assert fault in streams._judged({**ANSWER, **answer}, data, STREAM, digest, "forged")[1]


def test_a_decoder_that_dies_or_hangs_costs_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = streams._Decoder(subject("webp"))
    try:
        assert decoder._process is not None
        decoder._process.kill()
        decoder._process.wait()
        assert "ended the process" in decoder.decode(b"x")["lost"]
        assert decoder.decode(decoder.streams[0].data)["size"] == [64, 48]
    finally:
        decoder.close()


def test_the_table_has_sums_and_failures() -> None:
    figures = [Figures("a", 1000, 1000, []), Figures("b", 3, 2, ["b 7: it broke"], ["slow"])]
    assert [item.good for item in figures] == [True, False]
    text = table(figures)
    assert "| a | 1,000 | 1,000 |" in text
    assert "| b | 3 | 2 | slow |" in text
    assert "| all | 1,003 | 1,002 |" in text
    assert "  b 7: it broke" in text
