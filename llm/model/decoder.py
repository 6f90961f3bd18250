"""Decoder for generation: the twin of LlamaForCausalLM.

Shapes: B batch, T length, D model width, H heads, d = D / H, V vocabulary. Masks: True means "attend".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llm.model.attention import BlockSizes, Rotary
from llm.model.cache import KeyValueCache
from llm.model.config import DecoderConfig
from llm.model.dropout import Dropout
from llm.model.layers import Block, BlockSwitches, causal_mask, initialise, make_norm
from llm.model.positions import rotary_table
from llm.model.products import multiply

LLAMA = BlockSwitches(norm="rms", norm_place="pre", norm_epsilon=1e-6, feed_forward="swiglu", bias=False)


class DecoderModel(nn.Module):
    """Tokens to next-token scores; input and output embeddings are one matrix (Press and Wolf 2017)."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: DecoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.sizes = BlockSizes.of(config, kv_heads=config.kv_heads)
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(LLAMA, self.sizes) for _ in range(config.layers))
        self.norm = make_norm(LLAMA, config.width)
        self.dropout = Dropout(config.dropout)
        cosines, sines = rotary_table(config.max_positions, self.sizes.head_width)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        initialise(self, residual_layers=config.layers)
        nn.init.normal_(self.embedding.weight, std=0.02)

    @property
    def max_positions(self) -> int:
        """Longest sequence, in tokens."""
        return self.config.max_positions

    def forward(
        self,
        ids: Tensor,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Scores of the next token: ids (B, T) -> (B, T, V), or (B, 1, V) with `last_only`.

        `mask` (B, past + T) marks the real tokens when prompts are padded on the left; None: all are real.
        """
        return multiply(self.states(ids, mask=mask, cache=cache, last_only=last_only), self.embedding.weight)

    def states(
        self,
        ids: Tensor,
        *,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """What `forward` makes scores of: (B, T, D), or (B, 1, D) with `last_only`."""
        past = cache.used if cache is not None else 0
        length = ids.shape[1]
        rotary = self._rotary(mask, past=past, length=length)
        plain = mask is None and past == 0
        attend = None if plain else causal_mask(mask, past=past, length=length, device=ids.device)
        x = self.dropout(self.embedding(ids))
        for layer, block in enumerate(self.blocks):
            x = block(x, mask=attend, causal=plain and length > 1, rotary=rotary, cache=cache, layer=layer)
        if cache is not None:
            cache.advance(length)
        states: Tensor = self.norm(x[:, -1:] if last_only else x)
        return states

    def _rotary(self, mask: Tensor | None, *, past: int, length: int) -> Rotary:
        dtype = torch.promote_types(self.embedding.weight.dtype, torch.float32)
        turns = torch.complex(self.cosines.to(dtype), self.sines.to(dtype)).unsqueeze(1)
        if mask is None:
            return Rotary(turns[past : past + length])
        # Padding does not count: the first real token has position 0.
        return Rotary(turns[(mask.long().cumsum(dim=1) - 1).clamp(min=0)[:, past:]])

    def new_cache(self, batch: int, length: int) -> KeyValueCache:
        """An empty cache for `batch` rows of at most `length` tokens."""
        return KeyValueCache(
            layers=self.config.layers,
            batch=batch,
            kv_heads=self.config.kv_heads,
            room=length,
            head_width=self.sizes.head_width,
            like=self.embedding.weight.detach(),
        )
