"""Which precision matrix products are worth: bfloat16 is four times as fast on some CPUs and slower on others."""

from __future__ import annotations

import logging
import time

import torch

log = logging.getLogger(__name__)

_WORTH_IT = 1.5
_ROUNDS = 5
_REPEATS = 8
# Rows, inner and outer width of a typical product of our presets.
_SHAPE = (2048, 256, 1024)


def choose_precision(wanted: str, device: torch.device) -> str:
    """ "float32" or "bfloat16"; "auto" measures both on the CPU (a tenth of a second) and asks CUDA what it supports.

    The choice is stored in the checkpoint: a resumed training keeps it, whatever a new measurement would say.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    ratio = _seconds(torch.float32) / _seconds(torch.bfloat16)
    chosen = "bfloat16" if ratio >= _WORTH_IT else "float32"
    log.info("precision: %s, since this machine multiplies %.1f times as fast in bfloat16", chosen, ratio)
    return chosen


def _seconds(dtype: torch.dtype) -> float:
    rows, inner, outer = _SHAPE
    left, right = torch.ones(rows, inner, dtype=dtype), torch.ones(outer, inner, dtype=dtype)
    best = float("inf")
    # The best of several rounds: another process can only make a round slower.
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for _ in range(_REPEATS):
            torch.nn.functional.linear(left, right)
        best = min(best, time.perf_counter() - started)
    return best
