"""Errors of a training."""

from rdcodecs.codec import CodecError


class TrainingError(CodecError):
    """A training cannot begin or go on. The message is one line."""
