"""The limit that no training can pass: how fast this machine multiplies matrices of the model's own shapes.

Shapes: M rows (tokens of a batch), K inner width, N outer width of a product.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from llm.model.products import Products, multiply, onednn_works, products, weight_gradient
from llm.training.machine import freed_memory_kept

_SECONDS = 0.5  # how long the products of one way are repeated


@dataclass(frozen=True)
class Product:
    """A linear layer of the model: M rows of width K become M rows of width N, `times` in a step."""

    rows: int
    inner: int
    outer: int
    times: int = 1

    @property
    def operations(self) -> float:
        """Floating-point operations of a step: forward, and both gradients."""
        return 6.0 * self.rows * self.inner * self.outer * self.times


def limits(shapes: Sequence[Product], *, threads: int) -> dict[str, float]:
    """GFLOP/s of the products of one step, forward and both gradients, for each way to multiply."""
    torch.set_num_threads(threads)
    kinds: list[Products] = ["float32", "onednn", "bfloat16"] if onednn_works() else ["float32", "bfloat16"]
    operations = sum(shape.operations for shape in shapes)
    with freed_memory_kept():
        return {kind: round(operations / _seconds(shapes, kind) / 1e9, 1) for kind in kinds}


def _seconds(shapes: Sequence[Product], kind: Products) -> float:
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    total = 0.0
    for shape in shapes:
        x = torch.randn(shape.rows, shape.inner).to(dtype)
        weight = torch.randn(shape.outer, shape.inner).to(dtype)
        gradient = torch.randn(shape.rows, shape.outer).to(dtype)
        best = float("inf")
        with torch.no_grad(), products(kind, x.device):
            until = time.perf_counter() + _SECONDS / len(shapes)
            while time.perf_counter() < until:
                started = time.perf_counter()
                multiply(x, weight)
                multiply(gradient, weight.t())
                weight_gradient(gradient, x)
                best = min(best, time.perf_counter() - started)
        total += best * shape.times
    return total
