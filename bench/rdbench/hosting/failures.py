"""What can go wrong with a codec in a process of its own."""

from rdbench.errors import BenchError
from rdbench.text import error_line, printable
from rdcodecs.process import signal_name


class CodecFailureError(BenchError):
    """A codec failed. The message is the whole line: the error's type, what it says, and where it was raised.

    Attributes:
        stage: what the codec was asked for ("import", "__init__", "check", "fingerprint", "encode", "decode" ...).
        base: name of the class of `rdcodecs.codec` that the error derives from; None for any other error.
        kind: name of the error's own class.
        said: what the error says, without its type.
    """

    def __init__(self, line: str, *, stage: str = "", base: str | None = None, kind: str = "", said: str = "") -> None:
        super().__init__(line)
        self.stage, self.base, self.kind, self.said = stage, base, kind, said


class CodecCrashError(CodecFailureError):
    """The codec's process ended."""


class CodecTimeoutError(CodecFailureError):
    """The codec ran past its time limit; its process was ended."""


class CodecMemoryError(CodecFailureError):
    """The codec used more memory than it may; its process was ended."""


def raised(error: dict[str, object]) -> CodecFailureError:
    """Return the failure that a host reports."""
    kind, said, place = (str(error.get(name) or "") for name in ("type", "message", "place"))
    base = str(error["base"]) if error.get("base") else None
    stage = str(error.get("stage") or "")
    line = error_line(kind, said, "" if base else place)
    return CodecFailureError(line, stage=stage, base=base, kind=kind, said=printable(" ".join(said.split())))


def ending(status: int) -> str:
    """Return in words how a process ended, from its exit status, negative for a signal."""
    return f"exit status {status}" if status >= 0 else signal_name(-status)
