"""Encoder with a classification head: the twin of BertForSequenceClassification.

Shapes: B batch, S length, D model width, H heads. Masks: True means "attend".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llm.model.attention import BlockSizes
from llm.model.config import EncoderConfig
from llm.model.dropout import Dropout
from llm.model.layers import Block, BlockSwitches, initialise, make_norm
from llm.model.products import Linear

BERT = BlockSwitches(norm="layer", norm_place="post", norm_epsilon=1e-12, feed_forward="gelu", bias=True)
SEGMENTS = 2  # BERT's two sentences; a classifier of one text only ever uses the first


class EncoderClassifier(nn.Module):
    """A text to one score a label, read off its first token (Devlin et al. 2019, section 4.1)."""

    def __init__(self, config: EncoderConfig, vocabulary: int, *, labels: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.labels = tuple(labels)
        sizes = BlockSizes.of(config, kv_heads=config.heads)
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.positions = nn.Embedding(config.max_positions, config.width)
        self.segments = nn.Embedding(SEGMENTS, config.width)
        self.embedding_norm = make_norm(BERT, config.width)
        self.blocks = nn.ModuleList(Block(BERT, sizes) for _ in range(config.layers))
        self.pooler = Linear(config.width, config.width)
        self.classifier = Linear(config.width, len(self.labels))
        self.dropout = Dropout(config.dropout)
        initialise(self, residual_layers=config.layers)
        # The classifier starts small: a fresh model then finds all labels about equally likely.
        for matrix in (self.embedding, self.positions, self.segments, self.classifier):
            nn.init.normal_(matrix.weight, std=0.02)

    @property
    def max_positions(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_positions

    def forward(self, ids: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Scores of the labels: ids (B, S) -> (B, labels). `mask` (B, S) marks the real tokens; None: all are."""
        # Both added rows are the same for every text, so they are summed before they meet the batch.
        frame = self.positions.weight[: ids.shape[1]] + self.segments.weight[0]
        x = self.dropout(self.embedding_norm(self.embedding(ids) + frame))
        attend = None if mask is None else mask[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask=attend)
        pooled = torch.tanh(self.pooler(x[:, 0]))
        scores: Tensor = self.classifier(self.dropout(pooled))
        return scores
