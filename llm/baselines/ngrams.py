"""Counts of n-grams over integer symbols, by sorting: no Python loop over symbols, millions of them in seconds.

An n-gram is numbered by the pair (number of its first n - 1 symbols, last symbol), so n is not bounded by what fits
into 64 bits. Symbols: L of a stream, A of the alphabet, G distinct n-grams of an order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
UNSEEN = -1


@dataclass(frozen=True, eq=False)
class Order:
    """The distinct n-grams of one order n, numbered 0 to G - 1.

    keys: (G,) ascending, prefix * A + last symbol; prefix: (G,) number of the (n - 1)-gram before the last symbol (0
    when n = 1); suffix: (G,) number of the (n - 1)-gram without the first symbol (0 when n = 1); counts: (G,)
    occurrences.
    """

    keys: Ints
    prefix: Ints
    suffix: Ints
    counts: Ints


@dataclass(frozen=True, eq=False)
class Position:
    """Where the symbols of a stream stand in one order: `context` the (n - 1)-gram before, `gram` the n-gram; (L,)."""

    context: Ints
    gram: Ints


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """`orders[n - 1]` holds the n-grams. `start` begins every document and is context only: as a 1-gram it counts 0."""

    alphabet: int
    start: int
    orders: list[Order]

    @classmethod
    def of(cls, stream: Ints, *, alphabet: int, start: int, order: int) -> NgramCounts:
        """Count the n-grams, n = 1 to `order`, of documents written one after the other, each beginning with `start`.

        stream: (L,) symbols below `alphabet`. No n-gram reaches over the beginning of its document. There are fewer
        orders when no document is as long as `order`.
        """
        orders: list[Order] = []
        grams = np.zeros(len(stream), dtype=np.int64)
        for n in range(1, order + 1):
            context = grams if n == 1 else _shift(grams, stream == start)
            keys = np.where(context == UNSEEN, UNSEEN, context * alphabet + stream)
            places = np.flatnonzero(keys != UNSEEN)
            if not len(places):
                break
            distinct, first, numbers, counts = np.unique(
                keys[places], return_index=True, return_inverse=True, return_counts=True
            )
            if n == 1:
                counts[distinct == start] = 0
            suffix = grams[places[first]]
            orders.append(Order(keys=distinct, prefix=distinct // alphabet, suffix=suffix, counts=counts))
            grams = np.full(len(stream), UNSEEN, dtype=np.int64)
            grams[places] = numbers
        return cls(alphabet=alphabet, start=start, orders=orders)

    def locate(self, stream: Ints) -> Iterator[Position]:
        """Look another stream up, one order after the other, 1-grams first. UNSEEN marks what was not counted."""
        starts = stream == self.start
        context = np.zeros(len(stream), dtype=np.int64)
        for order in self.orders:
            keys = np.where(context == UNSEEN, UNSEEN, context * self.alphabet + stream)
            found = np.searchsorted(order.keys, keys)
            found[found == len(order.keys)] = 0
            gram = np.where(order.keys[found] == keys, found, UNSEEN)
            yield Position(context=context, gram=gram)
            context = _shift(gram, starts)

    def contexts(self, order: int) -> int:
        """How many contexts the n-grams of `order` can have: all distinct (n - 1)-grams, or the empty one."""
        return 1 if order == 1 else len(self.orders[order - 2].keys)


def _shift(grams: Ints, starts: NDArray[np.bool_]) -> Ints:
    """The n-gram that ends just before each symbol; none before the first symbol of a document."""
    before = np.empty_like(grams)
    before[:1] = UNSEEN
    before[1:] = grams[:-1]
    before[starts] = UNSEEN
    return before
