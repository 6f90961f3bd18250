"""Position information: rotary angles for queries and keys, sinusoidal vectors for embeddings.

Shapes: B batch, T length, P positions, H heads, d = D / H width of a head.
Both tables are computed in float32, then cast, exactly as the twins do: a float64 model agrees with its twin to 1e-10.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def rotary_table(positions: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (P, d / 2), of position times frequency (Su et al. 2021, "RoFormer", eq. 15).

    The halves layout: dimension i turns with dimension i + d / 2, and both have the same angle.
    """
    exponents = torch.arange(0, head_width, 2, dtype=torch.int64).float() / head_width
    frequencies = 1.0 / (ROTARY_BASE**exponents)
    angles = torch.arange(positions, dtype=torch.float32)[:, None] * frequencies[None, :]
    return angles.cos(), angles.sin()


def sinusoidal_table(positions: int, width: int) -> Tensor:
    """Fixed position vectors (P, D) in float32: sines in the first half, cosines in the second.

    Vaswani et al. 2017, section 3.5, with the two halves side by side instead of interleaved.
    """
    exponents = 2 * (np.arange(width) // 2) / width
    angles = np.arange(positions)[:, None] / np.power(10_000, exponents)[None, :]
    table = np.concatenate((np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])), axis=1)
    return torch.from_numpy(table.astype(np.float32))
