"""Muon: momentum whose steps are made orthogonal, for the matrices of a network; Adam for the rest of it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, tuned for speed: singular values end between 0.7 and 1.2 instead of at 1."""
_ITERATIONS = 5
_MOMENTUM = 0.95
_MATCHED = 0.2
"""Root mean square of Adam's steps, to which these are brought, so that one learning rate serves both."""
_BETAS = (0.9, 0.99)


class Muon(torch.optim.Optimizer):
    """Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".

    PyTorch's own takes matrices only, and the weights here are convolutions.

    Weights of two dimensions and more, a convolution's flattened to (out, in·k·k), take a step along their Nesterov
    momentum made orthogonal, scaled as in Liu et al. 2025, "Muon is scalable for LLM training", eq. 4. All others, and
    matrices with a side below `smallest`, take Adam's. Weight decay is decoupled.

    Args:
        parameters: to train.
        lr: learning rate, of the size that suits Adam.
        weight_decay: of the matrices.
        smallest: side from which a matrix is worth it.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float = 1e-3, weight_decay: float = 0.0, smallest: int = 8
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "smallest": smallest})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step. There is no use for a closure."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                state["step"] += 1
                if parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= group["smallest"]:
                    self._orthogonal(parameter, state, group)
                else:
                    self._adam(parameter, state, group)

    @staticmethod
    def _orthogonal(parameter: nn.Parameter, state: dict[str, Any], group: dict[str, Any]) -> None:
        gradient: Any = parameter.grad
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        matrix = torch.lerp(gradient, momentum, _MOMENTUM).flatten(1)
        update = orthogonalised(matrix).reshape(parameter.shape)
        scale = _MATCHED * max(matrix.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update.to(parameter), alpha=group["lr"] * scale)

    @staticmethod
    def _adam(parameter: nn.Parameter, state: dict[str, Any], group: dict[str, Any]) -> None:
        gradient: Any = parameter.grad
        first = state.setdefault("first", torch.zeros_like(parameter))
        second = state.setdefault("second", torch.zeros_like(parameter))
        first.lerp_(gradient, 1 - _BETAS[0])
        second.lerp_(gradient.square(), 1 - _BETAS[1])
        step = float(state["step"])
        mean, square = first / (1 - _BETAS[0] ** step), second / (1 - _BETAS[1] ** step)
        parameter.sub_(mean / (square.sqrt() + 1e-8), alpha=group["lr"])


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return nearly the orthogonal factor U·V^T of a matrix with singular value decomposition U·S·V^T."""
    wide = matrix.shape[0] <= matrix.shape[1]
    start = matrix if wide else matrix.mT
    start = start / (start.norm() + 1e-7)
    a, b, c = _COEFFICIENTS
    # Each iteration multiplies from the left by a polynomial of X·X^T. These commute, so that all of them can be
    # found in the smaller of the two dimensions.
    identity = torch.eye(len(start), dtype=start.dtype, device=start.device)
    gram, whole = start @ start.mT, identity
    for _ in range(_ITERATIONS):
        polynomial = a * identity + (b * gram + c * gram @ gram)
        whole = polynomial @ whole
        gram = polynomial @ gram @ polynomial
    made: Tensor = whole @ start
    return made if wide else made.mT
