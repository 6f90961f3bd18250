"""Keys and values of the tokens seen so far, kept in place while decoding.

Shapes: B batch, T new tokens, L room in tokens, S source length, K key/value heads, d width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KeyValueCache:
    """Static room for `room` tokens in every layer; `used` counts the tokens stored so far."""

    def __init__(self, *, layers: int, batch: int, kv_heads: int, room: int, head_width: int, like: Tensor) -> None:
        shape = (batch, kv_heads, room, head_width)
        self._keys = [like.new_empty(shape) for _ in range(layers)]
        self._values = [like.new_empty(shape) for _ in range(layers)]
        # Cross-attention entries do not grow: they are computed once a source, at the first step.
        self._memory: list[tuple[Tensor, Tensor] | None] = [None] * layers
        # Which source each row reads. Beams of one text share it, so most reorderings leave the memory as it is.
        self._sources = torch.arange(batch, device=like.device)
        self.used = 0
        self.room = room

    @property
    def length(self) -> int:
        """Tokens stored so far."""
        return self.used

    @property
    def batch(self) -> int:
        """Rows held."""
        return self._keys[0].shape[0]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values (B, K, T, d) after the used ones; returns all of them, (B, K, used + T, d)."""
        end = self.used + keys.shape[2]
        self._keys[layer][:, :, self.used : end] = keys
        self._values[layer][:, :, self.used : end] = values
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` as stored, once every layer has appended them."""
        self.used += tokens

    def memory(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of the source, each (B, K, S, d), if they were stored."""
        return self._memory[layer]

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store the keys and values of the source."""
        self._memory[layer] = (keys, values)

    def reorder(self, rows: Tensor) -> None:
        """Keep row rows[i] as row i, for all entries; rows (B',) may drop and repeat, so the batch may change."""
        self._keys = [self._select(keys, rows) for keys in self._keys]
        self._values = [self._select(values, rows) for values in self._values]
        sources = self._sources[rows]
        if torch.equal(sources, self._sources):
            return
        self._sources = sources
        for layer, memory in enumerate(self._memory):
            if memory is not None:
                self._memory[layer] = (memory[0].index_select(0, rows), memory[1].index_select(0, rows))

    def _select(self, stored: Tensor, rows: Tensor) -> Tensor:
        # Only the used part is copied, and into the same room where it is large enough: fresh memory costs more time.
        chosen = stored[:, :, : self.used].index_select(0, rows)
        count = rows.shape[0]
        kept = stored[:count] if count <= stored.shape[0] else stored.new_empty((count, *stored.shape[1:]))
        kept[:, :, : self.used] = chosen
        return kept
