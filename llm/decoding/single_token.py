"""One more token a row in as few operations as there are: what a search does at every step but the first.

The modules of `llm.model` serve training, prompts and single tokens alike, and on single tokens most of their time goes
into views, masks and calls. Here the weights are laid out once for products with few rows (llm.decoding.factors); the
numbers are those of the modules up to rounding.

Shapes: B rows, D model width, H heads, K key/value heads, d = D / H, L tokens so far with the new one, S source length,
M sources, V vocabulary. Masks: True means "attend".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.decoding.factors import Factor
from llm.model.cache import KeyValueCache
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.layers import Block


@dataclass(frozen=True)
class _DecoderLayer:
    """One block without biases."""

    attention_norm: nn.Module
    query_key_value: Factor
    attention_output: Factor
    feed_forward_norm: nn.Module
    inner: Factor
    output: Factor

    @staticmethod
    def of(block: nn.Module, dtype: torch.dtype) -> _DecoderLayer:
        assert isinstance(block, Block)
        return _DecoderLayer(
            attention_norm=block.attention_norm,
            query_key_value=Factor.of(block.attention.query_key_value, dtype),
            attention_output=Factor.of(block.attention.output, dtype),
            feed_forward_norm=block.feed_forward_norm,
            inner=Factor.of(block.feed_forward.inner, dtype),
            output=Factor.of(block.feed_forward.output, dtype),
        )


class DecoderStep:
    """A DecoderModel's weights, laid out for single tokens; `model` must not be trained meanwhile.

    `dtype` is that of the products inside the blocks, None the model's own; sums, norms, attention and the scores keep
    the model's (among rounded scores there would be ties).
    """

    def __init__(self, model: DecoderModel, *, dtype: torch.dtype | None = None) -> None:
        self.sizes = model.sizes
        self.embedding = model.embedding.weight.detach()
        self.scores = Factor(self.embedding, dtype=self.embedding.dtype)
        self.layers = [_DecoderLayer.of(block, dtype or self.embedding.dtype) for block in model.blocks]
        self.norm = model.norm
        # (P, 1, 1, d / 2) and (P, 1, 2, d / 2), the sines signed: x * cosines + swapped halves * sines is the rotation.
        self.cosines = model.cosines[:, None, None].to(self.embedding.dtype)
        self.sines = torch.stack((-model.sines, model.sines), dim=1)[:, None].to(self.embedding.dtype)

    def __call__(self, ids: Tensor, *, positions: Tensor | int, mask: Tensor | None, cache: KeyValueCache) -> Tensor:
        """Logits (B, V) after ids (B,), which stand at `positions`, (B,) or one for all; stores them in the cache.

        `mask` (B, L) marks the real tokens; None: all are.
        """
        batch, sizes = ids.shape[0], self.sizes
        cosines, sines = self.cosines[positions], self.sines[positions]
        attend = None if mask is None else mask[:, None, None, :]
        turned_heads = sizes.heads + sizes.kv_heads
        x = F.embedding(ids, self.embedding)
        for layer, (slot, keys, values) in zip(self.layers, cache.next_token(), strict=True):
            heads = layer.query_key_value.product(layer.attention_norm.forward(x)).view(batch, -1, sizes.head_width)
            halves = heads[:, :turned_heads].view(batch, turned_heads, 2, -1)
            turned = torch.addcmul(halves * cosines, halves.flip(2), sines).view(batch, turned_heads, -1)
            slot[:, : sizes.kv_heads] = turned[:, sizes.heads :]
            slot[:, sizes.kv_heads :] = heads[:, turned_heads:]
            # The query heads that share a key head are so many queries to it.
            queries = turned[:, : sizes.heads].view(batch, sizes.kv_heads, -1, sizes.head_width)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attend)
            x = layer.attention_output.onto(x, mixed.reshape(batch, -1))
            gate, up = layer.inner.product(layer.feed_forward_norm.forward(x)).chunk(2, dim=-1)
            x = layer.output.onto(x, F.silu(gate).mul_(up))
        cache.advance(1)
        return self.scores.product(self.norm.forward(x))


@dataclass(frozen=True)
class _CrossLayer:
    """One block of a decoder that reads a source."""

    attention_norm: nn.Module
    query_key_value: Factor
    attention_output: Factor
    cross_norm: nn.Module
    query: Factor
    key_value: nn.Linear
    cross_output: Factor
    feed_forward_norm: nn.Module
    inner: Factor
    output: Factor

    @staticmethod
    def of(block: nn.Module, dtype: torch.dtype) -> _CrossLayer:
        assert isinstance(block, Block)
        assert block.cross_attention is not None
        assert block.cross_attention_norm is not None
        return _CrossLayer(
            attention_norm=block.attention_norm,
            query_key_value=Factor.of(block.attention.query_key_value, dtype),
            attention_output=Factor.of(block.attention.output, dtype),
            cross_norm=block.cross_attention_norm,
            query=Factor.of(block.cross_attention.query, dtype),
            key_value=block.cross_attention.key_value,
            cross_output=Factor.of(block.cross_attention.output, dtype),
            feed_forward_norm=block.feed_forward_norm,
            inner=Factor.of(block.feed_forward.inner, dtype),
            output=Factor.of(block.feed_forward.output, dtype),
        )


class EncoderDecoderStep:
    """An EncoderDecoderModel's decoder, laid out for single tokens; `dtype` and `model` as in DecoderStep."""

    def __init__(self, model: EncoderDecoderModel, *, dtype: torch.dtype | None = None) -> None:
        self.sizes = model.sizes
        embedding = model.embedding.weight.detach()
        self.embedding = embedding * model.config.width**0.5
        self.scores = Factor(embedding, dtype=embedding.dtype)
        self.positions = model.positions.to(embedding.dtype)
        self.layers = [_CrossLayer.of(block, dtype or embedding.dtype) for block in model.decoder_blocks]
        self.norm = model.decoder_norm

    def read(self, memory: Tensor, *, cache: KeyValueCache) -> None:
        """Store the keys and values of the sources: memory (M, S, D), one source for each row of the cache."""
        for number, layer in enumerate(self.layers):
            heads = layer.key_value(memory).view(*memory.shape[:2], 2, self.sizes.heads, self.sizes.head_width)
            keys, values = heads.permute(2, 0, 3, 1, 4).contiguous().unbind(0)
            cache.remember(number, keys, values)

    def __call__(self, ids: Tensor, *, memory_mask: Tensor | None, cache: KeyValueCache) -> Tensor:
        """Logits (B, V) after ids (B,), which are stored in the cache.

        `memory_mask` (M, S) marks the real tokens of the sources that the cache holds; None: all are.
        """
        batch, heads, width = ids.shape[0], self.sizes.heads, self.sizes.head_width
        attend = None if memory_mask is None else memory_mask[:, None, None, :]
        x = F.embedding(ids, self.embedding) + self.positions[cache.used]
        for number, (layer, (slot, keys, values)) in enumerate(zip(self.layers, cache.next_token(), strict=True)):
            new = layer.query_key_value.product(layer.attention_norm.forward(x)).view(batch, 3 * heads, width)
            slot.copy_(new[:, heads:])
            mixed = F.scaled_dot_product_attention(new[:, :heads].unsqueeze(2), keys, values)
            x = layer.attention_output.onto(x, mixed.view(batch, -1))
            source_keys, source_values = cache.sources_of(number)
            # Rows that read one source, the beams of a text, are so many queries to it: it is not repeated for them.
            sources = source_keys.shape[0]
            queries = layer.query.product(layer.cross_norm.forward(x)).view(sources, -1, heads, width).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(queries, source_keys, source_values, attn_mask=attend)
            x = layer.cross_output.onto(x, mixed.transpose(1, 2).reshape(batch, -1))
            x = layer.output.onto(x, layer.inner.product(layer.feed_forward_norm.forward(x)).relu_())
        cache.advance(1)
        return self.scores.product(self.norm.forward(x))
