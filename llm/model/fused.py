"""Steps between the matrix products, each with its gradient written out so that memory is passed over less often.

Shapes: B batch, T length, D model width, H query heads, K key/value heads, N = H + 2 K, d width of a head, F inner
width, M positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def pairs_together(weight: Tensor, *, heads: int, width: int) -> Tensor:
    """The weight (N d, D) of queries, keys and values with the coordinates that turn together side by side.

    In a twin's order, which the parameters have, coordinate i turns with i + d / 2 (Su et al. 2021, "RoFormer", eq.
    15). That is changed in the first `heads` heads of `width` d, those of queries and keys: as both change alike, their
    products do not change. A pair that lies together is a complex number, and turns by one multiplication.
    """
    turned, others = torch.tensor_split(weight, (heads * width,))
    return torch.cat((turned.view(heads, 2, width // 2, -1).transpose(1, 2).reshape(turned.shape), others))


def rotated_heads(heads: Tensor, turns: Tensor, *, parts: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Queries, keys and values out of one tensor (B, T, N, d), the first two turned by their positions.

    `parts` is (H, K, K); turns is complex, of length 1, and broadcasts to (B, T, 1, d / 2): what it multiplies are the
    pairs of neighbouring coordinates. Returns (B, T, H, d), (B, T, K, d), (B, T, K, d).
    """
    turned: tuple[Tensor, ...] = _RotatedHeads.apply(heads, turns, parts)  # type: ignore[no-untyped-call]
    return turned


class _RotatedHeads(torch.autograd.Function):
    """A rotation's gradient is the rotation back, so both ways are the same single pass."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, turns: Tensor, parts: tuple[int, int, int]) -> tuple[Tensor, ...]:
        """See `rotated_heads`."""
        ctx.save_for_backward(turns)
        out = torch.empty_like(heads)
        turned = parts[0] + parts[1]
        _turn(heads[:, :, :turned], turns, into=out[:, :, :turned])
        out[:, :, turned:] = heads[:, :, turned:]
        return torch.split(out, list(parts), dim=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Gradients of queries, keys and values -> the gradient of `heads`, in one tensor."""
        (turns,) = ctx.saved_tensors
        queries, keys, values = gradients
        sizes = [gradient.shape[2] for gradient in gradients]
        out = values.new_empty((*values.shape[:2], sum(sizes), values.shape[3]))
        into = torch.split(out, sizes, dim=2)
        back = torch.conj_physical(turns)
        _turn(queries, back, into=into[0])
        _turn(keys, back, into=into[1])
        into[2].copy_(values)
        return out, None, None


def _turn(x: Tensor, turns: Tensor, *, into: Tensor) -> None:
    if x.stride(-1) != 1:  # a gradient of keys that a plain product made
        x = x.contiguous()
    if x.dtype.itemsize < turns.real.dtype.itemsize:  # bfloat16 has no complex numbers
        pairs = _as_complex(x.float())
        into.copy_(torch.view_as_real(pairs.mul_(turns)).view(x.shape))
    else:
        torch.mul(_as_complex(x), turns, out=_as_complex(into))


def _as_complex(x: Tensor) -> Tensor:
    """x (..., d), whose last dimension lies together -> the same numbers in memory, (..., d / 2) complex."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Gate and up (..., F) -> silu(gate) * up, (..., F) (Shazeer 2020, eq. 5)."""
    out: Tensor = _SwiGlu.apply(gate, up)  # type: ignore[no-untyped-call]
    return out


class _SwiGlu(torch.autograd.Function):
    """Keeps silu(gate) too: its exponentials take longer than the memory for it."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """See `swiglu`."""
        activated = F.silu(gate)
        ctx.save_for_backward(gate, up, activated)
        return activated * up

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient (..., F) -> those of gate and up."""
        (gradient,) = gradients
        gate, up, activated = ctx.saved_tensors
        gate_gradient: Tensor = gradient * up
        torch.ops.aten.silu_backward.grad_input(gate_gradient, gate, grad_input=gate_gradient)
        return gate_gradient, activated * gradient


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
        lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = lengths.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
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
