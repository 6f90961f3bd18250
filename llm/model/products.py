"""How matrix products are computed: torch's own way, through oneDNN in float32, or in bfloat16.

torch hands float32 products on a CPU to MKL, which leaves the AVX-512 units of other makers' processors idle; oneDNN,
which torch ships too, uses them. On a Zen 5 core MKL reached 115 GFLOP/s, oneDNN 265 in the same precision.

Shapes: M rows, D inner width, N outer width.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Products = Literal["float32", "onednn", "bfloat16"]

_current: ContextVar[Products] = ContextVar("products", default="float32")


@contextmanager
def products(kind: Products, device: torch.device) -> Iterator[None]:
    """Inside, every `Linear` multiplies this way: "float32" as torch does by itself, "onednn" in float32 too."""
    token = _current.set(kind)
    try:
        # Without its cache, which would go on multiplying with the weights of the first step until the end.
        with torch.autocast(device.type, torch.bfloat16, enabled=kind == "bfloat16", cache_enabled=False):
            yield
    finally:
        _current.reset(token)


def onednn_works() -> bool:
    """True when this torch multiplies through oneDNN, and right.

    torch exposes the operator for its own compiler only, so its answer is compared before it is trusted.
    """
    x, weight, bias = torch.ones(2, 3), torch.arange(12.0).view(4, 3), torch.arange(4.0)
    try:
        found = _product(x, weight, bias)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.equal(found, F.linear(x, weight, bias))


def choose_products(wanted: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Products:
    """How a training of a `wanted` precision multiplies; "auto" is bfloat16 where the device has instructions for it.

    What the processor is decides, never a measurement: trained twice, a recipe has to end in the same weights.
    """
    if wanted == "auto" and (cpu_has_bfloat16() if device.type == "cpu" else torch.cuda.is_bf16_supported()):
        return "bfloat16"
    return fast_products(torch.bfloat16 if wanted == "bfloat16" else torch.float32, device)


def fast_products(dtype: torch.dtype, device: torch.device) -> Products:
    """The fastest way to multiply in `dtype`, for this kind of processor."""
    if dtype == torch.bfloat16:
        return "bfloat16"
    if device.type != "cpu" or dtype != torch.float32 or mkl_is_fast() or not onednn_works():
        return "float32"
    return "onednn"


def mkl_is_fast() -> bool:
    """True when torch's own products use all of the processor: MKL does so on Intel's only."""
    has_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return has_mkl and "GenuineIntel" in _processor()


def cpu_has_bfloat16() -> bool:
    """True when the processor multiplies bfloat16 itself; where it has to convert, float32 is faster."""
    return not _processor().isdisjoint(("avx512_bf16", "amx_bf16"))


@functools.cache
def _processor() -> frozenset[str]:
    """The words in which Linux describes the processor, its maker and its instructions; none on other systems."""
    information = Path("/proc/cpuinfo")
    return frozenset(information.read_text().split()) if information.exists() else frozenset()


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., D), weight (N, D), bias (N,) -> (..., N), in the way that `products` set, with gradients."""
    if _current.get() != "onednn" or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    out: Tensor = _OneDnnProduct.apply(x.reshape(-1, x.shape[-1]), weight, bias)  # type: ignore[no-untyped-call]
    return out.view(*x.shape[:-1], weight.shape[0])


def as_factor(x: Tensor) -> Tensor:
    """`x` as products read it: for what is used in several of them, so that it is rounded once."""
    return x.bfloat16() if _current.get() == "bfloat16" else x


class Linear(nn.Linear):
    """torch's linear layer, multiplying in the way that `products` set."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., N)."""
        return multiply(x, self.weight, self.bias)


class _OneDnnProduct(torch.autograd.Function):
    """x W^T + b, and its gradients, each one product of oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x (M, D), weight (N, D), bias (N,) -> (M, N)."""
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradient of the result (M, N) -> those of x, weight and bias."""
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if needs_x else None,
            weight_gradient(gradient, x) if needs_weight else None,
            gradient.sum(dim=0) if needs_bias else None,
        )


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient (M, N) and input (M, D) of a product -> the gradient of its weight, (N, D)."""
    if _current.get() != "onednn" or x.dtype != torch.float32:
        return gradient.t() @ x
    # oneDNN reads its second factor in any order of memory, and copies the first: that is to be the smaller one.
    if gradient.shape[1] < x.shape[1]:
        return _product(gradient.t(), x.t())
    return _product(x.t(), gradient.t()).t()


def add_weight_gradient(total: Tensor, gradient: Tensor, x: Tensor) -> None:
    """Add what `weight_gradient` returns to `total` (N, D), without a tensor between where torch multiplies."""
    if _current.get() != "onednn" and gradient.dtype == total.dtype:
        total.addmm_(gradient.t(), x)
    else:
        total += weight_gradient(gradient, x)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out
