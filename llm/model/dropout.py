"""Dropout (Srivastava et al. 2014, section 4) that draws its random numbers four at a time, from a fast generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16  # a kept share is a multiple of 1 / 65,536


class Dropout(nn.Module):
    """Zeroes a share `p` of the elements while training, and scales the others by 1 / (1 - p).

    On a CPU the mask is cut out of 64-bit random numbers, 16 bits an element, which come from SFC64, a quarter of the
    time of torch's Mersenne Twister. Drawing one of torch's numbers for each element, as its dropout does, takes as
    long as all of a small model's norms and activations together. The seed is drawn from torch's generator, so the
    masks follow from its state.
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
        dropped = round(p * _LEVELS)
        keep = (_random_shorts(x.numel()) >= dropped - _LEVELS // 2).view(x.shape)
        ctx.save_for_backward(keep)
        ctx.scale = _LEVELS / (_LEVELS - dropped)
        return _masked(x, keep, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Gradient (...) -> (...): the same mask."""
        (gradient,) = gradients
        (keep,) = ctx.saved_tensors
        return _masked(gradient, keep, ctx.scale), None


def _random_shorts(count: int) -> Tensor:
    """(count,) int16, each value as likely as any other."""
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()).item())
    generator = np.random.Generator(np.random.SFC64(seed))
    limits = np.iinfo(np.int64)
    numbers = generator.integers(limits.min, limits.max, size=-(-count // 4), dtype=np.int64, endpoint=True)
    return torch.from_numpy(numbers).view(torch.int16)[:count]


def _masked(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    # torch's name for x * keep * scale in one pass.
    out: Tensor = torch.ops.aten.native_dropout_backward(x, keep, scale)
    return out
