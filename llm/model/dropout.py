"""Dropout (Srivastava et al. 2014, section 4) that draws its random numbers four at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16  # a kept share is a multiple of 1 / 65,536


class Dropout(nn.Module):
    """Zeroes a share `p` of the elements while training, and scales the others by 1 / (1 - p).

    On a CPU the mask is cut out of 64-bit random numbers, 16 bits an element: drawing one number for each element, as
    torch does, takes as long as all of a small model's norms and activations together.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x (...) -> (...)."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        out: Tensor = _Dropout.apply(x, self.p)  # type: ignore[no-untyped-call]
        return out


class _Dropout(torch.autograd.Function):
    """Keeps the mask as one byte an element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """See `Dropout`."""
        limits = torch.iinfo(torch.int64)
        # The upper limit is exclusive, so the one number of all ones never comes.
        numbers = torch.randint(limits.min, limits.max, (-(-x.numel() // 4),), dtype=torch.int64)
        dropped = round(p * _LEVELS)
        keep = (numbers.view(torch.int16)[: x.numel()] >= dropped - _LEVELS // 2).view(x.shape)
        ctx.save_for_backward(keep)
        ctx.scale = _LEVELS / (_LEVELS - dropped)
        return _masked(x, keep, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Gradient (...) -> (...): the same mask."""
        (gradient,) = gradients
        (keep,) = ctx.saved_tensors
        return _masked(gradient, keep, ctx.scale), None


def _masked(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    # torch's name for x * keep * scale in one pass.
    out: Tensor = torch.ops.aten.native_dropout_backward(x, keep, scale)
    return out
