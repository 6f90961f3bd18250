"""Keys and values of the tokens seen so far, kept in place while decoding.

Shapes: B batch, T new tokens, L room in tokens, S source length, M sources, K key/value heads, d width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class KeyValueCache:
    """Static room for `room` tokens in every layer; `used` counts the tokens stored so far."""

    def __init__(self, *, layers: int, batch: int, kv_heads: int, room: int, head_width: int, like: Tensor) -> None:
        # Keys, then values; a token's stand together, so that storing one and moving some is one copy.
        self._stored = like.new_empty((layers, batch, room, 2 * kv_heads, head_width))
        self._kv_heads = kv_heads
        # Cross-attention entries do not grow: they are computed once a source, at the first step.
        self._memory: list[tuple[Tensor, Tensor] | None] = [None] * layers
        # Which source each row reads. Beams of one text share it, so most reorderings leave the memory as it is.
        self._sources = torch.arange(batch, device=like.device)
        # The first tokens, which rows of one source have in common: those stored before rows were first repeated.
        self._common: int | None = None
        self.used = 0
        self.room = room

    @property
    def length(self) -> int:
        """Tokens stored so far."""
        return self.used

    @property
    def batch(self) -> int:
        """Rows held."""
        return self._stored.shape[1]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values (B, K, T, d) after the used ones; returns all of them, (B, K, used + T, d)."""
        end = self.used + keys.shape[2]
        stored = self._stored[layer].transpose(1, 2)
        stored[:, : self._kv_heads, self.used : end] = keys
        stored[:, self._kv_heads :, self.used : end] = values
        return stored[:, : self._kv_heads, :end], stored[:, self._kv_heads :, :end]

    def next_token(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each layer: where the next token's keys and values go, (B, 2 K, d), and all, (B, K, used + 1, d) each."""
        slots = self._stored[:, :, self.used].unbind(0)
        seen = self._stored[:, :, : self.used + 1].transpose(2, 3)
        keys, values = seen[:, :, : self._kv_heads].unbind(0), seen[:, :, self._kv_heads :].unbind(0)
        return zip(slots, keys, values, strict=True)

    def advance(self, tokens: int) -> None:
        """Count `tokens` as stored, once every layer has appended them."""
        self.used += tokens

    def memory(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of each row's source, each (B, K, S, d), if they were stored."""
        stored = self._memory[layer]
        if stored is None:
            return None
        return stored[0][self._sources], stored[1][self._sources]

    def sources_of(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the sources, each (M, K, S, d); B / M rows in a row read one source."""
        stored = self._memory[layer]
        assert stored is not None, "no source was read"
        return stored

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store the keys and values of the sources, one a row."""
        self._memory[layer] = (keys, values)

    def reorder(self, rows: Tensor) -> Tensor | None:
        """Keep row rows[i] as row i, for all entries; rows (B',) may drop and repeat, so the batch may change.

        Returns which of the sources are left, (new M,); None when they are the same as before.
        """
        if self._common is None:
            self._common = self.used
        sources = self._sources[rows]
        if torch.equal(sources, self._sources):
            # Every row goes on with its own source, so what all rows of the source began with stays where it is.
            self._select(rows, first=self._common)
            return None
        self._select(rows, first=0)
        firsts, each = _grouped(sources)
        self._sources = torch.arange(firsts.shape[0], device=rows.device).repeat_interleave(each)
        for layer, memory in enumerate(self._memory):
            if memory is not None:
                self._memory[layer] = (memory[0].index_select(0, firsts), memory[1].index_select(0, firsts))
        return firsts

    def _select(self, rows: Tensor, *, first: int) -> None:
        # Only what moves is copied, and into the same room where it is large enough: fresh memory costs more time.
        before, count = self._stored, rows.shape[0]
        if count <= self.batch:
            moved = (rows != torch.arange(count, device=rows.device)).nonzero().squeeze(1)
            self._stored = before[:, :count]
        else:
            moved = torch.arange(count, device=rows.device)
            layers, _, *rest = before.shape
            self._stored = before.new_empty((layers, count, *rest))
        origins = rows[moved]
        for old, new in zip(before.unbind(0), self._stored.unbind(0), strict=True):
            chosen = old[:, first : self.used].index_select(0, origins)
            new[:, first : self.used].index_copy_(0, moved, chosen)


def _grouped(sources: Tensor) -> tuple[Tensor, int]:
    """Sources (B,) as M sources that come `each` times in a row: those (M,), and `each`, which is 1 if need be."""
    other = (sources != sources[0]).nonzero()
    each = int(other[0]) if other.numel() else sources.shape[0]
    if sources.shape[0] % each:
        return sources, 1
    groups = sources.view(-1, each)
    if not bool((groups == groups[:, :1]).all()):
        return sources, 1
    return groups[:, 0], each
