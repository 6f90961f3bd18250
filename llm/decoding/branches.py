"""Keys and values of texts that branch while they are searched: what the rows of a text have in common is stored once.

Each step adds an entry a row, and nothing is moved when rows are chosen anew: which entries stand before a row is a
mask. So the beams of a text are so many queries to one set of entries, and its prompt is read once for all of them.

Shapes: M texts, R rows of a text, E entries of a text, K key/value heads, d width of a head, S source length.
Masks: True means "attend"; as floats, 0 means "attend" and -inf does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# After so many steps the entries that no row leads to any more are given up: moving the others costs a pass over them.
_STEPS_BETWEEN = 8
_GROWTH = 2


class BranchingCache:
    """Entries of M texts in every layer, with one row a text at first; the rows of a text stand side by side."""

    def __init__(self, *, layers: int, texts: int, kv_heads: int, room: int, head_width: int, like: Tensor) -> None:
        # Keys, then values; an entry's stand together, so that storing it is one copy.
        self._stored = like.new_empty((layers, texts, room, 2 * kv_heads, head_width))
        self._seen = torch.zeros(texts, 1, room, dtype=torch.bool, device=like.device)
        self._sources: list[tuple[Tensor, Tensor]] = []
        self._kv_heads = kv_heads
        self._all_seen = True
        self._packed = 0  # entries when unreachable ones were last given up
        self.used = 0

    @property
    def texts(self) -> int:
        """M."""
        return self._stored.shape[1]

    @property
    def rows(self) -> int:
        """R: rows of each text."""
        return self._seen.shape[1]

    @property
    def room(self) -> int:
        """Entries of a text that fit without a larger allocation."""
        return self._stored.shape[2]

    def read(self, mask: Tensor | None, *, length: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Make `length` entries of prompts, of which mask (M, length) marks the real ones; yields what `step` does."""
        assert self.used == 0, "prompts come first"
        self._seen[:, 0, :length] = True if mask is None else mask
        self._all_seen = mask is None
        self._packed = length
        return self._new(length)

    def step(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Make an entry a row, which the row itself sees; yields for each layer where it goes, (M, R, 2 K, d), and all
        keys and all values, (M, K, E, d) each."""
        if self.rows > 1 and self.used - self._packed >= _STEPS_BETWEEN * self.rows:
            self._give_up_unreachable()
        if self.used + self.rows > self.room:
            self._grow()
        new = self._seen[:, :, self.used : self.used + self.rows]
        torch.diagonal(new, dim1=1, dim2=2).fill_(True)
        return self._new(self.rows)

    def _new(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        slots = self._stored[:, :, self.used : self.used + count].unbind(0)
        self.used += count
        entries = self._stored[:, :, : self.used].transpose(2, 3)
        keys, values = entries[:, :, : self._kv_heads].unbind(0), entries[:, :, self._kv_heads :].unbind(0)
        return zip(slots, keys, values, strict=True)

    def mask(self, *, queries: int) -> Tensor | None:
        """Which entries each row sees, (M, 1, queries x R, E) in floats; None: all. A row has `queries` a key head."""
        if self._all_seen:
            return None
        seen = self._seen[:, :, : self.used]
        additive = self._stored.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
        return additive.repeat_interleave(queries, dim=1).unsqueeze(1)

    def remember(self, keys: Tensor, values: Tensor) -> None:
        """Store the next layer's keys and values of the sources, (M, K, S, d) each."""
        self._sources.append((keys, values))

    @property
    def sources(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the sources by layer, each (M, K, S, d)."""
        return self._sources

    def reorder(self, rows: Tensor) -> Tensor | None:
        """Continue with `rows`, (new rows,) int64; a row may be dropped, or repeated.

        Returns which of the texts are left, (new M,), which repeat where the rows of a text do not stand together; None
        when they are the same as before.
        """
        texts, each = _grouped(rows // self.rows)
        first_branches = self.rows == 1 < each
        chosen = self._seen.flatten(0, 1).index_select(0, rows).view(texts.shape[0], each, -1)
        self._all_seen = self._all_seen and each == 1
        self._seen = chosen
        if first_branches:
            # Now, as long as there is little to copy.
            self._grow()
        if texts.shape[0] == self.texts and torch.equal(texts, torch.arange(self.texts, device=texts.device)):
            return None
        self._select(texts)
        self._sources = [(keys.index_select(0, texts), values.index_select(0, texts)) for keys, values in self._sources]
        return texts

    def _select(self, texts: Tensor) -> None:
        # Only what moves is copied, and into the same room where it is large enough: fresh memory costs more time.
        before, count = self._stored, texts.shape[0]
        places = torch.arange(count, device=texts.device)
        moved = (texts != places).nonzero().squeeze(1) if count <= self.texts else places
        if count <= self.texts:
            self._stored = before[:, :count]
        else:
            layers, _, *rest = before.shape
            self._stored = before.new_empty((layers, count, *rest))
        origins = texts[moved]
        for old, new in zip(before.unbind(0), self._stored.unbind(0), strict=True):
            new[:, : self.used].index_copy_(0, moved, old[:, : self.used].index_select(0, origins))

    def _give_up_unreachable(self) -> None:
        seen = self._seen[:, :, : self.used]
        reached = seen.any(dim=1)
        kept = int(reached.sum(dim=1).max())
        self._packed = kept
        if kept == self.used:
            return
        # Stable, so that entries stay in order; texts that reach fewer fill up with entries that no row sees.
        order = reached.byte().argsort(dim=1, descending=True, stable=True)[:, :kept]
        flat = order + self.room * torch.arange(self.texts, device=order.device).unsqueeze(1)
        for layer in self._stored.unbind(0):
            layer[:, :kept] = (
                layer.flatten(0, 1).index_select(0, flat.flatten()).view(self.texts, kept, *layer.shape[2:])
            )
        chosen = seen.gather(2, order.unsqueeze(1).expand(-1, self.rows, -1))
        self._seen.zero_()[:, :, :kept] = chosen
        self.used = kept

    def _grow(self) -> None:
        room = _GROWTH * self.room + self.rows
        layers, texts, _, *rest = self._stored.shape
        stored = self._stored.new_empty((layers, texts, room, *rest))
        stored[:, :, : self.used] = self._stored[:, :, : self.used]
        seen = self._seen.new_zeros((*self._seen.shape[:2], room))
        seen[:, :, : self.used] = self._seen[:, :, : self.used]
        self._stored, self._seen = stored, seen


def _grouped(texts: Tensor) -> tuple[Tensor, int]:
    """Texts of rows (N,) as M texts that come `each` times in a row: those (M,), and `each`, which is 1 if need be."""
    other = (texts != texts[0]).nonzero()
    each = int(other[0]) if other.numel() else texts.shape[0]
    if texts.shape[0] % each:
        return texts, 1
    groups = texts.view(-1, each)
    if not bool((groups == groups[:, :1]).all()):
        return texts, 1
    return groups[:, 0], each
