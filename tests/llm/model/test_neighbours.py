"""A fresh encoder's first layer looks where it was told to."""

from __future__ import annotations

import pytest
import torch

from llm.model.attention import SelfAttention
from llm.model.config import EncoderConfig
from llm.model.encoder import EncoderClassifier
from llm.model.neighbours import start_on_neighbours


@pytest.mark.parametrize(("width", "heads"), [(128, 4), (192, 4), (32, 2)])
def test_each_head_begins_on_its_neighbour(width: int, heads: int) -> None:
    torch.manual_seed(1)
    config = EncoderConfig(width=width, heads=heads, layers=2, feed_forward=64, max_positions=128)
    model = EncoderClassifier(config, 50, labels=("a", "b")).eval()
    torch.nn.init.normal_(model.embedding.weight)
    start_on_neighbours(model)
    length, head = 100, width // heads
    ids = torch.randint(50, (8, length))
    attention = next(module for module in model.modules() if isinstance(module, SelfAttention))
    x = model.embedding_norm(model.embedding(ids) + model.positions.weight[:length] + model.segments.weight[0])
    queries, keys, _ = attention.query_key_value(x).view(8, length, 3, heads, head).permute(2, 0, 3, 1, 4)
    weights = (queries @ keys.transpose(-1, -2) / head**0.5).softmax(dim=-1)
    for number in range(heads):
        offset = (-1, 1, -2, 2)[number]
        places = torch.arange(2, length - 2)
        looked_at = weights[:, number, places, places + offset]
        assert looked_at.mean() > 0.8
        assert (weights[:, number, places].argmax(dim=-1) == places + offset).float().mean() > 0.95
