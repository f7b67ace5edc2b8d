import pytest

from rdbench.cli import main
from rdbench.metrics import fetching


@pytest.fixture
def things(monkeypatch):
    """Two things to fetch: one here, one that comes when it is asked for."""
    here = {"weights-a"}

    def thing(name):
        def check():
            if name not in here:
                raise fetching.MetricUnavailableError(f"{name} is missing")

        def get(given, say):
            say(f"getting {name} from {given}")
            here.add(name)

        return fetching.Fetchable(name, "5 MB", "MIT", f"metric {name[-1]}", check, get)

    monkeypatch.setattr(fetching, "fetchables", lambda: [thing("weights-a"), thing("weights-b")])
    return here


def test_list(things, capsys):
    assert main(["fetch"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["what", "for", "size", "licence", "here"],
        ["weights-a", "metric", "a", "5", "MB", "MIT", "yes"],
        ["weights-b", "metric", "b", "5", "MB", "MIT", "no"],
    ]


def test_fetch(things, capsys, tmp_path):
    assert main(["fetch", "weights-a", "weights-b", "--from", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "weights-a is here (metric a)",
        f"getting weights-b from {tmp_path}",
        "weights-b is here (metric b)",
    ]
    assert things == {"weights-a", "weights-b"}


def test_unknown(things, capsys):
    assert main(["fetch", "weights-c"]) == 1
    assert capsys.readouterr().err == "rdbench: unknown thing to fetch 'weights-c': did you mean 'weights-b'?\n"
