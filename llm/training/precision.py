"""Which way to multiply matrices pays on this machine: measured, since CPUs differ by a factor of four both ways."""

from __future__ import annotations

import logging
import time

import torch

from llm.model.products import Products, multiply, onednn_works, products

log = logging.getLogger(__name__)

# bfloat16 must be so much faster than float32 to make up for its rounding.
_WORTH_ROUNDING = 1.5
# The same sums by another library: a gain that is not noise is enough.
_WORTH_ANOTHER_LIBRARY = 1.1
_ROUNDS = 5
_REPEATS = 8
# Rows, inner and outer width of a typical product of our presets.
_SHAPE = (2048, 256, 1024)


def choose_products(wanted: str, device: torch.device) -> Products:
    """How to multiply for a `wanted` precision ("float32", "bfloat16" or "auto"), measured in a tenth of a second.

    The choice is stored in the checkpoint: a resumed training keeps it, whatever a new measurement would say.
    """
    if wanted == "bfloat16":
        return "bfloat16"
    if device.type == "cuda":
        return "bfloat16" if wanted == "auto" and torch.cuda.is_bf16_supported() else "float32"
    plain = _seconds("float32")
    onednn = _seconds("onednn") if onednn_works() else float("inf")
    single: Products = "onednn" if plain / onednn >= _WORTH_ANOTHER_LIBRARY else "float32"
    half = _seconds("bfloat16")
    log.info(
        "matrix products beside torch's float32: oneDNN %.1f, bfloat16 %.1f times as fast", plain / onednn, plain / half
    )
    if wanted == "auto" and min(plain, onednn) / half >= _WORTH_ROUNDING:
        return "bfloat16"
    return single


def _seconds(kind: Products) -> float:
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    rows, inner, outer = _SHAPE
    left, right = torch.ones(rows, inner, dtype=dtype), torch.ones(outer, inner, dtype=dtype)
    best = float("inf")
    with torch.no_grad(), products(kind, left.device):
        # The best of several rounds: another process can only make a round slower.
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            for _ in range(_REPEATS):
                multiply(left, right)
            best = min(best, time.perf_counter() - started)
    return best
