"""Keys and values of the tokens seen so far, for calls of a whole model that go on where the last one ended.

Searches keep theirs in llm.decoding.branches.

Shapes: B batch, T new tokens, L room in tokens, S source length, K key/value heads, d width of a head.
"""

from __future__ import annotations

from torch import Tensor


class KeyValueCache:
    """Static room for `room` tokens in every layer; `used` counts the tokens stored so far."""

    def __init__(self, *, layers: int, batch: int, kv_heads: int, room: int, head_width: int, like: Tensor) -> None:
        # Keys, then values.
        self._stored = like.new_empty((layers, batch, 2 * kv_heads, room, head_width))
        self._kv_heads = kv_heads
        # Cross-attention entries do not grow: they are computed once a source, at the first call.
        self._memory: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self.used = 0

    @property
    def length(self) -> int:
        """Tokens stored so far."""
        return self.used

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values (B, K, T, d) after the used ones; returns all of them, (B, K, used + T, d)."""
        end = self.used + keys.shape[2]
        stored = self._stored[layer]
        stored[:, : self._kv_heads, self.used : end] = keys
        stored[:, self._kv_heads :, self.used : end] = values
        return stored[:, : self._kv_heads, :end], stored[:, self._kv_heads :, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` as stored, once every layer has appended them."""
        self.used += tokens

    def memory(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of each row's source, each (B, K, S, d), if they were stored."""
        return self._memory[layer]

    def remember(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store the keys and values of the sources, one a row."""
        self._memory[layer] = (keys, values)
