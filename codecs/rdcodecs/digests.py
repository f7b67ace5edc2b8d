"""SHA-256 of weights: what says whether two models are the same."""

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of named tensors on the CPU, as hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def network_digest(network: nn.Module) -> str:
    """Return a SHA-256 of a network's weights, the same whether they were loaded in half or in single precision."""
    return tensors_digest({name: value.detach().cpu().half() for name, value in network.state_dict().items()})
