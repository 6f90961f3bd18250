"""Prompts, and then one more token a row, in as few operations as there are: what a search asks of a model.

The modules of `llm.model` serve training too, and on single tokens most of their time goes into views, masks and calls.
Here the weights are laid out once for products with few rows (llm.decoding.factors); the numbers are those of the
modules up to rounding.

Shapes: M texts, B rows, B / M of each text, T tokens of a prompt, D model width, H heads, K key/value heads, d = D / H,
E entries of the cache, S source length, V vocabulary. Masks: True means "attend".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm.decoding.branches import BranchingCache
from llm.decoding.factors import Factor
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.fused import pairs_together
from llm.model.layers import Block, RMSNorm, causal_mask
from llm.model.products import fast_products


@dataclass(frozen=True)
class _DecoderLayer:
    """One block without biases, the scales of its norms multiplied into the weights behind them."""

    query_key_value: Factor
    attention_output: Factor
    inner: Factor
    output: Factor

    @staticmethod
    def of(block: nn.Module, dtype: torch.dtype) -> _DecoderLayer:
        assert isinstance(block, Block)
        attention, feed_forward, sizes = block.attention, block.feed_forward, block.attention.sizes
        joint = pairs_together(
            attention.query_key_value.weight.detach(), heads=sizes.heads + sizes.kv_heads, width=sizes.head_width
        )
        return _DecoderLayer(
            query_key_value=Factor(_scaled(joint, block.attention_norm), dtype=dtype),
            attention_output=Factor.of(attention.output, dtype),
            inner=Factor(_scaled(feed_forward.inner.weight, block.feed_forward_norm), dtype=dtype),
            output=Factor.of(feed_forward.output, dtype),
        )


def _scaled(weight: Tensor, norm: nn.Module) -> Tensor:
    """The weight (N, D) behind a root-mean-square norm, for inputs of length 1 in place of the norm's outputs."""
    assert isinstance(norm, RMSNorm)
    scaled: Tensor = weight.detach() * (norm.weight.detach() * weight.shape[1] ** 0.5)
    return scaled


class DecoderStep:
    """A DecoderModel's weights, laid out for decoding; `model`, in float32 or float64, must not be trained meanwhile.

    `dtype` is that of the products inside the blocks, None the model's own; sums, norms, attention and the scores keep
    the model's (among rounded scores there would be ties).
    """

    def __init__(self, model: DecoderModel, *, dtype: torch.dtype | None = None) -> None:
        self.sizes = model.sizes
        self.embedding = model.embedding.weight.detach()
        self.layers = [_DecoderLayer.of(block, dtype or self.embedding.dtype) for block in model.blocks]
        self.scores = Factor(_scaled(self.embedding, model.norm), dtype=self.embedding.dtype)
        # The norm's epsilon as a length: sqrt(mean square + epsilon) = hypot(length, this) / sqrt(D).
        assert isinstance(model.norm, RMSNorm)
        self.least = self.embedding.new_tensor((self.embedding.shape[1] * model.norm.epsilon) ** 0.5)
        # (P, 1, d / 2): a pair of coordinates, taken as a complex number, is turned by one product.
        turns = torch.complex(model.cosines.to(self.embedding.dtype), model.sines.to(self.embedding.dtype))
        self.turns = turns.unsqueeze(1)

    def new_cache(self, texts: int, *, room: int) -> BranchingCache:
        """An empty cache for `texts` texts of at most `room` tokens while each has one row."""
        sizes = self.sizes
        return BranchingCache(
            layers=len(self.layers),
            texts=texts,
            kv_heads=sizes.kv_heads,
            room=room,
            head_width=sizes.head_width,
            like=self.embedding,
        )

    def read(self, ids: Tensor, *, mask: Tensor | None, cache: BranchingCache) -> Tensor:
        """Logits (M, V) after prompts ids (M, T) padded on the left, whose real tokens mask (M, T) marks; None: all."""
        texts, length = ids.shape
        sizes = self.sizes
        if mask is None:
            turns, attend = self.turns[:length].repeat(texts, 1, 1), None
        else:
            # Padding does not count: the first real token has position 0.
            turns = self.turns[(mask.long().cumsum(dim=1) - 1).clamp_(min=0).flatten()]
            attend = causal_mask(mask, past=0, length=length, device=ids.device)
        x = F.embedding(ids.flatten(), self.embedding)
        for layer, (slot, keys, values) in zip(self.layers, cache.read(mask, length=length), strict=True):
            queries = self._turned(layer, x, turns, slot)
            mixed = F.scaled_dot_product_attention(
                queries.view(texts, length, sizes.heads, -1).transpose(1, 2),
                keys,
                values,
                attn_mask=attend,
                is_causal=attend is None,
                enable_gqa=sizes.heads != sizes.kv_heads,
            )
            x = self._closed(layer, x, mixed.transpose(1, 2).reshape(texts * length, -1))
        return self.scores.product(self._unit(x.view(texts, length, -1)[:, -1]))

    def __call__(self, ids: Tensor, *, positions: Tensor | int, cache: BranchingCache) -> Tensor:
        """Logits (B, V) after ids (B,), which stand at `positions`, (B,) or one for all; stores them in the cache."""
        texts, each, sizes = cache.texts, cache.rows, self.sizes
        shared = sizes.heads // sizes.kv_heads
        turns = self.turns[positions]
        x = F.embedding(ids, self.embedding)
        entries = cache.step()
        attend = cache.mask(queries=shared)
        for layer, (slot, keys, values) in zip(self.layers, entries, strict=True):
            queries = self._turned(layer, x, turns, slot)
            # The rows of a text, and the query heads that share a key head, are so many queries to its entries.
            queries = queries.view(texts, each, sizes.kv_heads, shared, -1).transpose(1, 2).flatten(2, 3)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attend)
            mixed = mixed.view(texts, sizes.kv_heads, each, shared, -1).transpose(1, 2).reshape(ids.shape[0], -1)
            x = self._closed(layer, x, mixed)
        return self.scores.product(self._unit(x))

    def _turned(self, layer: _DecoderLayer, x: Tensor, turns: Tensor, slot: Tensor) -> Tensor:
        """Queries (rows, H, d) of x (rows, D); keys and values go into the slot."""
        sizes = self.sizes
        heads = layer.query_key_value.product(self._unit(x)).view(x.shape[0], -1, sizes.head_width)
        pairs = heads[:, : sizes.heads + sizes.kv_heads].view(x.shape[0], -1, sizes.head_width // 2, 2)
        torch.view_as_complex(pairs).mul_(turns)
        slot.copy_(heads[:, sizes.heads :].view(slot.shape))
        return heads[:, : sizes.heads]

    def _unit(self, x: Tensor) -> Tensor:
        """x (rows, D), each row of length 1: the norm, but for what the weights took over."""
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.least)

    def _closed(self, layer: _DecoderLayer, x: Tensor, mixed: Tensor) -> Tensor:
        """The rest of the block, after attention."""
        x = layer.attention_output.onto(x, mixed)
        gate, up = layer.inner.rounded(self._unit(x)).chunk(2, dim=-1)
        return layer.output.onto(x, F.silu(gate).mul_(up))


@dataclass(frozen=True)
class _CrossLayer:
    """One block of a decoder that reads a source."""

    attention_norm: nn.Module
    query_key_value: Factor
    attention_output: Factor
    cross_norm: nn.Module
    query: Factor
    key_value: Factor
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
            key_value=Factor.of(block.cross_attention.key_value, dtype),
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
        self.products = fast_products(dtype or embedding.dtype, embedding.device)
        self.embedding = embedding * model.config.width**0.5
        self.scores = Factor(embedding, dtype=embedding.dtype)
        self.positions = model.positions.to(embedding.dtype)
        self.layers = [_CrossLayer.of(block, dtype or embedding.dtype) for block in model.decoder_blocks]
        self.norm = model.decoder_norm

    def read(self, memory: Tensor, *, max_new_tokens: int) -> BranchingCache:
        """A cache that holds the keys and values of the sources memory (M, S, D), one row each."""
        texts, length, _ = memory.shape
        sizes = self.sizes
        cache = BranchingCache(
            layers=len(self.layers),
            texts=texts,
            kv_heads=sizes.heads,
            room=max_new_tokens,
            head_width=sizes.head_width,
            like=self.embedding,
        )
        flat = memory.flatten(0, 1)
        for layer in self.layers:
            heads = layer.key_value.product(flat).view(texts, length, 2, sizes.heads, sizes.head_width)
            keys, values = heads.permute(2, 0, 3, 1, 4).contiguous().unbind(0)
            cache.remember(keys, values)
        return cache

    def __call__(self, ids: Tensor, *, position: int, memory_mask: Tensor | None, cache: BranchingCache) -> Tensor:
        """Logits (B, V) after ids (B,), which stand at `position` and are stored in the cache.

        `memory_mask` (M, S) marks the real tokens of the sources that the cache holds; None: all are.
        """
        texts, each, batch = cache.texts, cache.rows, ids.shape[0]
        heads, width = self.sizes.heads, self.sizes.head_width
        attend_source = None if memory_mask is None else memory_mask[:, None, None, :]
        x = F.embedding(ids, self.embedding) + self.positions[position]
        entries = cache.step()
        attend = cache.mask(queries=1)
        layers = zip(self.layers, entries, cache.sources, strict=True)
        for layer, (slot, keys, values), (source_keys, source_values) in layers:
            new = layer.query_key_value.product(layer.attention_norm.forward(x)).view(texts, each, 3 * heads, width)
            slot.copy_(new[:, :, heads:])
            # The rows of a text are so many queries to its entries, and to its source.
            queries = new[:, :, :heads].transpose(1, 2)
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attend)
            x = layer.attention_output.onto(x, mixed.transpose(1, 2).reshape(batch, -1))
            queries = layer.query.product(layer.cross_norm.forward(x)).view(texts, each, heads, width).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(queries, source_keys, source_values, attn_mask=attend_source)
            x = layer.cross_output.onto(x, mixed.transpose(1, 2).reshape(batch, -1))
            x = layer.output.onto(x, layer.inner.rounded(layer.feed_forward_norm.forward(x)).relu_())
        return self.scores.product(self.norm.forward(x))
