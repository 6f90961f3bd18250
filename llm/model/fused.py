"""Steps between the matrix products, each with its gradient written out so that memory is passed over less often.

Shapes: B batch, T length, D model width, H query heads, K key/value heads, N = H + 2 K, d width of a head, F inner
width, M positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def rotated_heads(heads: Tensor, cosines: Tensor, sines: Tensor, *, parts: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Queries, keys and values out of one tensor (B, T, N, d), the first two turned by their positions.

    `parts` is (H, K, K); cosines and sines broadcast to (B, T, 1, d / 2). Dimension i turns with i + d / 2 (Su et al.
    2021, "RoFormer", eq. 15). Returns (B, T, H, d), (B, T, K, d), (B, T, K, d).
    """
    turned: tuple[Tensor, ...] = _RotatedHeads.apply(heads, cosines, sines, parts)  # type: ignore[no-untyped-call]
    return turned


class _RotatedHeads(torch.autograd.Function):
    """A rotation's gradient is the rotation back, so both ways are the same two passes."""

    @staticmethod
    def forward(
        ctx: Any, heads: Tensor, cosines: Tensor, sines: Tensor, parts: tuple[int, int, int]
    ) -> tuple[Tensor, ...]:
        """See `rotated_heads`."""
        cosines, sines = cosines.to(heads.dtype), sines.to(heads.dtype)
        ctx.save_for_backward(cosines, sines)
        out = torch.empty_like(heads)
        turned = parts[0] + parts[1]
        _turn(heads[:, :, :turned], cosines, sines, into=out[:, :, :turned])
        out[:, :, turned:] = heads[:, :, turned:]
        return torch.split(out, list(parts), dim=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradients of queries, keys and values -> the gradient of `heads`, in one tensor."""
        cosines, sines = ctx.saved_tensors
        queries, keys, values = gradients
        sizes = [gradient.shape[2] for gradient in gradients]
        out = values.new_empty((*values.shape[:2], sum(sizes), values.shape[3]))
        into = torch.split(out, sizes, dim=2)
        _turn(queries, cosines, -sines, into=into[0])
        _turn(keys, cosines, -sines, into=into[1])
        into[2].copy_(values)
        return out, None, None, None


def _turn(x: Tensor, cosines: Tensor, sines: Tensor, *, into: Tensor) -> None:
    first, second = x.chunk(2, dim=-1)
    into_first, into_second = into.chunk(2, dim=-1)
    torch.mul(first, cosines, out=into_first).addcmul_(second, sines, value=-1)
    torch.mul(second, cosines, out=into_second).addcmul_(first, sines)


def swiglu(hidden: Tensor) -> Tensor:
    """Gate and up side by side, (..., 2 F) -> silu(gate) * up, (..., F) (Shazeer 2020, eq. 5)."""
    out: Tensor = _SwiGlu.apply(hidden)  # type: ignore[no-untyped-call]
    return out


class _SwiGlu(torch.autograd.Function):
    """Both gradients are written into their halves of one tensor, with no copy to join them."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        """See `swiglu`."""
        ctx.save_for_backward(hidden)
        gate, up = hidden.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Gradient (..., F) -> that of `hidden`, (..., 2 F)."""
        (gradient,) = gradients
        (hidden,) = ctx.saved_tensors
        gate, up = hidden.chunk(2, dim=-1)
        out = torch.empty_like(hidden)
        gate_out, up_out = out.chunk(2, dim=-1)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=gate_out)
        torch.mul(F.silu(gate), gradient, out=up_out)
        return out


def rms_norm(x: Tensor, weight: Tensor, *, epsilon: float) -> Tensor:
    """x (..., D) / root of its mean square * weight (D,) (Zhang and Sennrich 2019, eq. 4)."""
    if not torch.is_grad_enabled():
        return F.rms_norm(x, weight.shape, weight, epsilon)
    out: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return out


class _RmsNorm(torch.autograd.Function):
    """The gradient in five passes; the one that torch composes takes two and a half times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        """See `rms_norm`."""
        inverse = x.pow(2).mean(dim=-1, keepdim=True).add_(epsilon).rsqrt_()
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradient (..., D) -> those of x and weight."""
        (gradient,) = gradients
        normed, inverse, weight = ctx.saved_tensors
        product = gradient * normed
        # The part of the gradient along x itself changes only its length, which the norm takes away.
        along = (product @ weight).div_(weight.shape[0]).unsqueeze(-1)
        x_gradient = (gradient * weight).addcmul_(normed, along, value=-1.0).mul_(inverse)
        return x_gradient, product.flatten(0, -2).sum(dim=0), None
