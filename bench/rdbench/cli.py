"""The command line: one module per command.

This module is imported before anything can be caught, so it imports next to nothing; commands are imported within
`main`, where Ctrl-C is an exit status and not a traceback.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    from rdbench import __version__
    from rdbench.commands import (
        check,
        codecs,
        compare,
        doctor,
        drop,
        fetch,
        interop,
        merge,
        metrics,
        plot,
        relabel,
        report,
        run,
    )
    from rdbench.commands.plugins import add_plugins, list_in_groups

    parser = argparse.ArgumentParser(
        prog="rdbench",
        description="Rate-distortion evaluation for perceptual and generative image codecs.",
        epilog="Exit status: 0 success, 1 an error, explained in one line, 2 wrong usage, "
        "3 finished with failed cells (run) or a failed condition (compare), 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"rdbench {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (run, plot, report, compare, check, merge, drop, relabel, codecs, metrics, doctor, fetch, interop):
        command.add_parser(commands)
    groups = {"measure and compare": list(commands.choices), **add_plugins(commands)}
    return list_in_groups(parser, commands, groups)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. SIGTERM, with which a cluster ends a job, is taken for Ctrl-C."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        # What is left to do is to end; a second order would only cut that short.
        with contextlib.suppress(ValueError):
            for order in (signal.SIGINT, signal.SIGTERM):
                signal.signal(order, signal.SIG_IGN)
        return INTERRUPTED
    finally:
        _flush()


def _run(arguments: Sequence[str] | None) -> int:
    with _orders_held_back():  # in the midst of an import an exception can be taken for a missing package
        from rdbench.errors import BenchError
        from rdbench.text import message, write_anything
        from rdcodecs import CodecError

        write_anything()
        parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.execute(options)
    except (BenchError, CodecError) as error:
        with contextlib.suppress(BrokenPipeError):
            print(f"rdbench: {message(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `rdbench codecs | head`
        return 0
    return status


@contextlib.contextmanager
def _orders_held_back() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _flush() -> None:
    """Write what is still to be written; whoever read it may be gone, which is no error of the command."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            # Python flushes once more at its end, and would complain.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
