"""A fresh encoder whose first layer begins by reading each token together with those beside it.

Few texts do not suffice to learn that "how" means another thing before "many": with random weights a head begins by
looking everywhere. Here the first layer begins on pairs of tokens, and training goes on from there.

Shapes: V vocabulary, P positions, D model width, H heads, d = D / H.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from llm.model.attention import SelfAttention
from llm.model.encoder import EncoderClassifier

# The heads take turns: how far from a token, in tokens, each begins to look.
_OFFSETS = (-1, 1, -2, 2)
_SHARPNESS = 40.0  # score of the token that a head begins to look at; one beside it scores about a quarter less
# Radians a token: the fastest tells neighbours apart, the slowest the ends of a long text.
_FASTEST, _RANGE = 0.95 * math.pi, 60.0


@torch.no_grad()
def start_on_neighbours(model: EncoderClassifier) -> None:
    """Let the heads of the first layer begin on neighbours; to be called when the embedding (V, D) has its values.

    The last d dimensions of the stream are cleared of tokens and hold the positions: sines, as strong as the tokens,
    which queries see turned by a head's offset. The model needs two heads or more.
    """
    width, head = model.config.width, model.config.width // model.config.heads
    tokens = width - head
    frequencies = _FASTEST * _RANGE ** -torch.linspace(0.0, 1.0, head // 2)
    model.embedding.weight[:, tokens:] = 0.0
    strength = model.embedding.weight.square().sum(dim=1).mean().sqrt() / math.sqrt(head // 2)
    angles = torch.arange(model.max_positions)[:, None] * frequencies
    model.segments.weight.zero_()
    model.positions.weight.zero_()
    model.positions.weight[:, tokens:] = strength * torch.cat([angles.cos(), angles.sin()], dim=1)
    attention = next(module for module in model.modules() if isinstance(module, SelfAttention))
    queries, keys, values = attention.query_key_value.weight.view(3, model.config.heads, head, width)
    # After the norm half of a token's squared length, D in all, is its position's.
    scale = math.sqrt(_SHARPNESS * math.sqrt(head) / (width / 2))
    for number in range(model.config.heads):
        for matrix in (queries[number], keys[number], values[number]):
            matrix.zero_()
        queries[number, :, tokens:] = scale * _turn(frequencies * _OFFSETS[number % len(_OFFSETS)])
        keys[number, :, tokens:] = scale * torch.eye(head)
        values[number, :, :tokens] = torch.linalg.qr(torch.randn(tokens, head))[0].T
    attention.output.weight.copy_(torch.linalg.qr(torch.randn(width, width))[0])


def _turn(angles: Tensor) -> Tensor:
    """(d, d): the matrix that adds `angles` (d / 2,) to those whose cosines, then sines, it is multiplied with."""
    cosines, sines = angles.cos().diag(), angles.sin().diag()
    return torch.cat([torch.cat([cosines, -sines], dim=1), torch.cat([sines, cosines], dim=1)])
