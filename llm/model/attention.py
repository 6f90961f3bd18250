"""Attention over a text itself and over a source, as every block has it.

Shapes: B batch, T target length, S source length, D model width, H heads, K key/value heads, d = D / H.
Masks are boolean; True means "attend".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.model.cache import KeyValueCache
from llm.model.config import ModelSizes
from llm.model.fused import pairs_together, rotated_heads
from llm.model.products import Linear, multiply

# Queries; longer texts go through the fused kernel, which never holds all scores.
_SHORT = 512


@dataclass(frozen=True)
class BlockSizes:
    """How large a block is."""

    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    dropout: float

    @classmethod
    def of(cls, config: ModelSizes, *, kv_heads: int) -> BlockSizes:
        """The sizes of a block in an assembly of this configuration."""
        return cls(
            width=config.width,
            heads=config.heads,
            kv_heads=kv_heads,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
        )

    @property
    def head_width(self) -> int:
        """d: the width of one head."""
        return self.width // self.heads


@dataclass(frozen=True)
class Rotary:
    """How the tokens of this call turn: complex numbers of length 1 that broadcast to (B, T, 1, d / 2)."""

    turns: Tensor


def attend(queries: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None, causal: bool) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1): (B, H, T, d), (B, H, S, d) twice -> (B, H, T, d).

    `mask` broadcasts to (B, H, T, S); `causal` lets position t see positions up to t, and excludes a mask.
    """
    if not _plain_is_faster(queries):
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal)
    weights = attention_weights(queries, keys, mask=mask, causal=causal)
    mixed: Tensor = weights.to(values.dtype) @ values
    return mixed


def attention_weights(queries: Tensor, keys: Tensor, *, mask: Tensor | None, causal: bool) -> Tensor:
    """The probabilities by which `attend` mixes values: (B, H, T, d), (B, H, S, d) -> (B, H, T, S), rows sum to 1."""
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        # Added in place: unlike a masked fill, that has no backward pass.
        scores += torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, float("-inf"))
    weights: Tensor = scores.softmax(dim=-1)
    return weights


def _plain_is_faster(queries: Tensor) -> bool:
    """While training in bfloat16 on a CPU, the fused kernel's backward pass takes 2 to 9 times as long as products."""
    if not torch.is_grad_enabled() or queries.is_cuda or queries.shape[2] > _SHORT:
        return False
    return queries.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2) with grouped key/value heads (Ainslie et al. 2023).

    One matrix makes queries, keys and values, in that order: one large product is faster than three small ones.
    """

    def __init__(self, sizes: BlockSizes, *, bias: bool) -> None:
        super().__init__()
        self.sizes = sizes
        self.query_key_value = Linear(sizes.width, (sizes.heads + 2 * sizes.kv_heads) * sizes.head_width, bias=bias)
        self.output = Linear(sizes.width, sizes.width, bias=bias)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None,
        causal: bool,
        rotary: Rotary | None,
        cache: KeyValueCache | None,
        layer: int,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D). mask broadcasts to (B, H, T, past + T); `causal` only without mask and cache."""
        queries, keys, values = self._heads(x, rotary=rotary, cache=cache, layer=layer)
        mixed = attend(queries, keys, values, mask=mask, causal=causal)
        merged: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return merged

    def probabilities(
        self,
        x: Tensor,
        *,
        mask: Tensor | None,
        causal: bool,
        rotary: Rotary | None,
        cache: KeyValueCache | None,
        layer: int,
    ) -> Tensor:
        """How much each position takes of each other in `forward` of the same arguments: (B, H, T, past + T).

        To be looked at: `forward` never makes them. A cache is left as `forward` would leave it.
        """
        queries, keys, _ = self._heads(x, rotary=rotary, cache=cache, layer=layer)
        return attention_weights(queries, keys, mask=mask, causal=causal)

    def _heads(
        self, x: Tensor, *, rotary: Rotary | None, cache: KeyValueCache | None, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, d), keys and values (B, H, past + T, d)."""
        sizes = self.sizes
        split = self._split(x) if rotary is None else self._turned(x, rotary.turns)
        queries, keys, values = (part.transpose(1, 2) for part in split)
        if cache is not None:
            keys, values = cache.append(layer, keys, values)
        if sizes.kv_heads != sizes.heads:
            keys = keys.repeat_interleave(sizes.heads // sizes.kv_heads, dim=1)
            values = values.repeat_interleave(sizes.heads // sizes.kv_heads, dim=1)
        return queries, keys, values

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of x (B, T, D): (B, T, H, d), (B, T, K, d) twice."""
        sizes = self.sizes
        heads = self.query_key_value(x).view(*x.shape[:2], -1, sizes.head_width)
        split: tuple[Tensor, ...] = heads.split((sizes.heads, sizes.kv_heads, sizes.kv_heads), dim=2)
        return split

    def _turned(self, x: Tensor, turns: Tensor) -> tuple[Tensor, ...]:
        """The same, queries and keys turned by their positions; there is no bias beside rotary positions."""
        sizes = self.sizes
        weight = pairs_together(self.query_key_value.weight, heads=sizes.heads + sizes.kv_heads, width=sizes.head_width)
        heads = multiply(x, weight).view(*x.shape[:2], -1, sizes.head_width)
        return rotated_heads(heads, turns, parts=(sizes.heads, sizes.kv_heads, sizes.kv_heads))


class CrossAttention(nn.Module):
    """Queries from the target, keys and values from the encoded source (Vaswani et al. 2017, section 3.2.3)."""

    def __init__(self, sizes: BlockSizes, *, bias: bool) -> None:
        super().__init__()
        self.sizes = sizes
        self.query = Linear(sizes.width, sizes.width, bias=bias)
        self.key_value = Linear(sizes.width, 2 * sizes.width, bias=bias)
        self.output = Linear(sizes.width, sizes.width, bias=bias)

    def forward(
        self, x: Tensor, *, memory: Tensor, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        """x (B, T, D), memory (B, S, D) -> (B, T, D). mask broadcasts to (B, H, T, S)."""
        queries, keys, values = self._heads(x, memory=memory, cache=cache, layer=layer)
        mixed = attend(queries, keys, values, mask=mask, causal=False)
        merged: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return merged

    def probabilities(
        self, x: Tensor, *, memory: Tensor, mask: Tensor | None, cache: KeyValueCache | None, layer: int
    ) -> Tensor:
        """How much each position takes of the source in `forward` of the same arguments: (B, H, T, S); see above."""
        queries, keys, _ = self._heads(x, memory=memory, cache=cache, layer=layer)
        return attention_weights(queries, keys, mask=mask, causal=False)

    def _heads(
        self, x: Tensor, *, memory: Tensor, cache: KeyValueCache | None, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, d), keys and values (B, H, S, d)."""
        queries = self.query(x).view(*x.shape[:2], self.sizes.heads, -1).transpose(1, 2)
        stored = cache.memory(layer) if cache is not None else None
        keys, values = stored if stored is not None else self._keys_and_values(memory)
        if cache is not None and stored is None:
            cache.remember(layer, keys, values)
        return queries, keys, values

    def _keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        batch, length, _ = memory.shape
        heads = self.key_value(memory).view(batch, length, 2 * self.sizes.heads, -1).transpose(1, 2)
        keys, values = heads.chunk(2, dim=1)
        return keys, values
