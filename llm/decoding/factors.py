"""Weights laid out for products with few rows, as every step of a search makes them.

Shapes: B rows, D inner width, N outer width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llm.model.products import onednn_works

_linear = torch.ops.mkldnn._linear_pointwise
# oneDNN asks for how many rows it is to lay a weight out; what it finds for 32 also serves 1 and 160 best.
_ROWS = 32
_PACKABLE = (torch.float32, torch.bfloat16)


class Factor:
    """The second factor of x W^T + b: weight (N, D), bias (N,) or None, multiplied in `dtype`.

    On a CPU the weight is packed once in oneDNN's own order: with 32 rows of a decoder 384 wide a product then takes
    half the time of torch's float32 one. Elsewhere, and in float64, it is transposed: one row then streams it in order.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype) -> None:
        weight = weight.detach().to(dtype)
        self.dtype = dtype
        self.bias = None if bias is None else bias.detach()
        self.packed = weight.device.type == "cpu" and dtype in _PACKABLE and onednn_works()
        if self.packed:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
        else:
            self.weight = weight.t().contiguous()

    @classmethod
    def of(cls, linear: nn.Linear, dtype: torch.dtype) -> Factor:
        """The factor of a linear layer."""
        return cls(linear.weight, linear.bias, dtype=dtype)

    def product(self, x: Tensor) -> Tensor:
        """x (B, D) -> (B, N), in the precision of x."""
        if self.packed and x.dtype == self.dtype:
            out: Tensor = _linear.default(x, self.weight, self.bias, "none", [], "")
            return out
        if self.bias is None:
            return self._bare(x).to(x.dtype)
        if not self.packed and x.dtype == self.dtype:
            return torch.addmm(self.bias, x, self.weight)
        return self.bias + self._bare(x)

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Residual (B, N) + the product; the sum is never rounded to a lower precision than that of the residual."""
        if self.packed and residual.dtype == self.dtype:
            out: Tensor = _linear.binary(x, residual, self.weight, self.bias, "add")
            return out
        biased = residual if self.bias is None else residual + self.bias
        if not self.packed and residual.dtype == self.dtype:
            return torch.addmm(biased, x, self.weight)
        return biased + self._bare(x)

    def _bare(self, x: Tensor) -> Tensor:
        if not self.packed:
            return torch.mm(x.to(self.dtype), self.weight)
        out: Tensor = _linear.default(x.to(self.dtype), self.weight, None, "none", [], "")
        return out
