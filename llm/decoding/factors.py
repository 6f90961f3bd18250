"""Weights laid out for products with few rows, as every step of a search makes them.

Shapes: B rows, D inner width, N outer width.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from llm.model.products import mkl_is_fast, onednn_works

_linear = torch.ops.mkldnn._linear_pointwise
_linear_of_halves = torch.ops.quantized.linear_dynamic_fp16.default
# oneDNN asks for how many rows it is to lay a weight out; what it finds for 32 also serves 1 and 160 best.
_ROWS = 32
_PACKABLE = (torch.float32, torch.bfloat16)
# Numbers in a weight up to which torch's own product of a single row, in the weight's precision, is faster than a call
# of oneDNN in this one, which takes 10 microseconds before it computes.
_SMALL = {torch.float32: 1 << 17, torch.bfloat16: 1 << 18}


class Factor:
    """The second factor of x W^T + b: weight (N, D), bias (N,) or None, multiplied in `dtype`.

    On a CPU the weight is packed once in oneDNN's own order: with 32 rows of a decoder 384 wide a product then takes
    half the time of torch's float32 one. Elsewhere, and in float64, it is transposed: one row then streams it in order.
    For products of a single row a weight is kept transposed too, in its own precision, if it is small, or if MKL
    streams it faster than oneDNN does (2.5 against 3.8 ms for such a decoder, on a Xeon).

    In float16, FBGEMM keeps the weight in half the memory and multiplies and sums in float32: it needs no instructions
    for short numbers, which bfloat16 is slow without.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype) -> None:
        weight = weight.detach()
        on_cpu = weight.device.type == "cpu"
        self.dtype = dtype
        self.bias = None if bias is None else bias.detach()
        self.halves = on_cpu and dtype == torch.float16 and _fbgemm_works()
        self.packed = on_cpu and dtype in _PACKABLE and onednn_works()
        self.for_one: Tensor | None = None
        self.weight: Any
        if self.halves:
            self.weight = torch.ops.quantized.linear_prepack_fp16(weight.float().contiguous(), None)
        elif self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype).contiguous(), _ROWS)
            if weight.numel() <= _SMALL[dtype] or (dtype == weight.dtype and mkl_is_fast()):
                self.for_one = weight.t().contiguous()
        else:
            self.weight = weight.to(dtype).t().contiguous()

    @classmethod
    def of(cls, linear: nn.Linear, dtype: torch.dtype) -> Factor:
        """The factor of a linear layer."""
        return cls(linear.weight, linear.bias, dtype=dtype)

    def product(self, x: Tensor) -> Tensor:
        """x (B, D) -> (B, N), in the precision of x."""
        if x.shape[0] == 1 and self.for_one is not None and x.dtype == self.for_one.dtype:
            return torch.mm(x, self.for_one) if self.bias is None else torch.addmm(self.bias, x, self.for_one)
        if self.packed and x.dtype == self.dtype:
            out: Tensor = _linear.default(x, self.weight, self.bias, "none", [], "")
            return out
        if self.bias is None:
            return self._bare(x).to(x.dtype)
        if not self.packed and x.dtype == self.dtype:
            return torch.addmm(self.bias, x, self.weight)
        return self.bias + self._bare(x)

    def rounded(self, x: Tensor) -> Tensor:
        """The product in whatever precision it was computed: for what is rounded again before it is multiplied."""
        if self.bias is not None or x.dtype == self.dtype or (x.shape[0] == 1 and self.for_one is not None):
            return self.product(x)
        return self._bare(x)

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Residual (B, N) + the product; the sum is never rounded to a lower precision than that of the residual."""
        if x.shape[0] == 1 and self.for_one is not None:
            total = torch.addmm(residual, x.to(self.for_one.dtype), self.for_one)
            return total if self.bias is None else total.add_(self.bias)
        if self.packed and residual.dtype == self.dtype:
            out: Tensor = _linear.binary(x, residual, self.weight, self.bias, "add")
            return out
        biased = residual if self.bias is None else residual + self.bias
        if not self.packed and residual.dtype == self.dtype:
            return torch.addmm(biased, x, self.weight)
        return biased + self._bare(x)

    def _bare(self, x: Tensor) -> Tensor:
        out: Tensor
        if self.halves:
            out = _linear_of_halves(x.float(), self.weight)
        elif self.packed:
            out = _linear.default(x.to(self.dtype), self.weight, None, "none", [], "")
        else:
            out = torch.mm(x.to(self.dtype), self.weight)
        return out


@functools.cache
def _fbgemm_works() -> bool:
    """True when this torch multiplies by halves, and right: FBGEMM is for x86, and torch has no other name for it."""
    x, weight = torch.ones(2, 3), torch.arange(12.0).view(4, 3)
    try:
        found = _linear_of_halves(x, torch.ops.quantized.linear_prepack_fp16(weight, None))
    except (RuntimeError, NotImplementedError):
        return False
    return torch.equal(found, x @ weight.t())
