"""Codecs in processes of their own: a `Lane` starts, asks and ends them. See `rdcodecs.host` for their side."""

from rdbench.hosting.failures import CodecCrashError, CodecFailureError, CodecMemoryError, CodecTimeoutError
from rdbench.hosting.lane import Configuration, FingerprintError, Lane, compare_fingerprints, own_lane
from rdbench.hosting.process import HostProcess

__all__ = [
    "CodecCrashError",
    "CodecFailureError",
    "CodecMemoryError",
    "CodecTimeoutError",
    "Configuration",
    "FingerprintError",
    "HostProcess",
    "Lane",
    "compare_fingerprints",
    "own_lane",
]
