"""Muon: momentum whose directions all get the same length (Jordan et al. 2024).

Shapes: a weight is (N, D), N outer and D inner width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llm.model.products import multiply

# The quintic of Jordan et al.: each application brings the singular values of its argument nearer to 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_APPLICATIONS = 5
_EPSILON = 1e-7
# A root mean square of 0.2 a weight is that of AdamW's steps: both optimizers share a learning rate (Liu et al. 2025,
# "Muon is scalable for LLM training", eq. 4).
_STEP_SIZE = 0.2


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; for the matrices inside the blocks, not for embeddings."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change every weight once; `closure` is not supported."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1.0 - group["momentum"])
                direction = orthogonal(parameter.grad.lerp(momentum, group["momentum"]))
                size = _STEP_SIZE * max(parameter.shape) ** 0.5
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                parameter.add_(direction, alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """(N, D) with the singular vectors of `matrix` and singular values near 1, by Newton and Schulz's iteration."""
    a, b, c = _QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.t().contiguous()
    x = x / (x.norm() + _EPSILON)
    for _ in range(_APPLICATIONS):
        square = multiply(x, x)
        factor = torch.add(square * b, multiply(square, square.t()), alpha=c)
        x = torch.add(x * a, multiply(factor, x.t()))
    return (x if wide else x.t()).to(matrix.dtype)
