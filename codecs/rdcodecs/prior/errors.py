"""Errors of the prior."""

from rdcodecs.codec import CodecError


class PriorError(CodecError):
    """A diffusion model cannot be used: wrong layout, wrong kind, unsafe file. The message is one line."""
