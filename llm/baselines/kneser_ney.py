"""Character 6-gram model with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999, section 3).

p_n(w | h) = (a(h w) - D(a(h w))) / a(h .) + g(h) p_(n-1)(w | h'), where h' is h without its oldest character, g(h) is
the mass that the discounts D free in h, and p_0 is uniform. a is the count in the highest order, below it the number of
distinct characters seen before h w; an n-gram that begins its document has nothing before it and keeps its count. The
end of a document is predicted as one more symbol. A character that the training text lacks is predicted as "other" and
then spelt by a uniform choice among all remaining Unicode characters, so the model covers any text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.baselines.base import BaselineData, BaselineResult
from llm.baselines.ngrams import UNSEEN, Ints, NgramCounts
from llm.metrics import language_model

Floats = NDArray[np.float64]

START, END, OTHER = 0, 1, 2
_FIRST_CHARACTER = 3
_ORDER = 6
# Unicode scalar values: all code points but the surrogates.
_UNICODE = 0x110000 - 0x800
# Discounts where too few n-grams of a count exist to estimate them (KenLM, --discount_fallback).
_FALLBACK = (0.0, 0.5, 1.0, 1.5)


@dataclass(frozen=True, eq=False)
class _Level:
    """One order. discounted: (G,) a - D(a); totals: (contexts,) a(h .); freed: (contexts,) mass of the discounts."""

    discounted: Floats
    totals: Floats
    freed: Floats


@dataclass(frozen=True, eq=False)
class KneserNey:
    """`characters`: (C,) ascending code points of the training text; symbols are START, END, OTHER, then these."""

    characters: Ints
    counts: NgramCounts
    levels: list[_Level]

    @classmethod
    def fit(cls, texts: Sequence[str], *, order: int) -> KneserNey:
        """Train on documents."""
        characters = np.unique(np.concatenate([_code_points(text) for text in texts]))
        stream = _stream(texts, characters)
        alphabet = _FIRST_CHARACTER + len(characters)
        counts = NgramCounts.of(stream, alphabet=alphabet, start=START, order=order)
        levels = [_level(counts, n) for n in range(1, len(counts.orders) + 1)]
        return cls(characters=characters, counts=counts, levels=levels)

    def probabilities(self, stream: Ints) -> Floats:
        """(L,) p of each symbol after those before it in its document; OTHER as a whole. Means nothing for START."""
        # Every symbol but START can be predicted.
        p = np.full(len(stream), 1.0 / (self.counts.alphabet - 1))
        for level, position in zip(self.levels, self.counts.locate(stream), strict=True):
            totals = np.where(position.context == UNSEEN, 0.0, level.totals[position.context])
            seen = totals > 0.0
            own = np.where(position.gram == UNSEEN, 0.0, level.discounted[position.gram])[seen]
            freed = level.freed[position.context[seen]]
            p[seen] = (own + freed * p[seen]) / totals[seen]
        return p

    def nats(self, texts: Sequence[str]) -> float:
        """-ln p of the documents, their ends included."""
        stream = _stream(texts, self.characters)
        predicted = self.probabilities(stream)[stream != START]
        spelling = int((stream == OTHER).sum()) * math.log(_UNICODE - len(self.characters))
        return spelling - float(np.log(predicted).sum())


def score(data: BaselineData) -> BaselineResult:
    """Bits per byte on the test split; no perplexity, since one per character does not compare with one per token."""
    model = KneserNey.fit([row["text"] for row in data.rows("train")], order=_ORDER)
    texts = [row["text"] for row in data.rows("test")]
    size = sum(len(text.encode()) for text in texts)
    return BaselineResult(metrics={"bits_per_byte": language_model.bits_per_byte(model.nats(texts), size)}, answers=[])


def _level(counts: NgramCounts, n: int) -> _Level:
    order = counts.orders[n - 1]
    adjusted = order.counts
    if n < len(counts.orders):
        before = np.bincount(counts.orders[n].suffix, minlength=len(order.keys))
        adjusted = np.where(before > 0, before, order.counts)
    discounts = discounts_of(adjusted)[np.minimum(adjusted, 3)]
    contexts = counts.contexts(n)
    return _Level(
        discounted=adjusted - discounts,
        totals=np.bincount(order.prefix, weights=adjusted, minlength=contexts).astype(np.float64),
        freed=np.bincount(order.prefix, weights=discounts, minlength=contexts).astype(np.float64),
    )


def discounts_of(counts: Ints) -> Floats:
    """(4,) discounts of counts 0, 1, 2 and 3 or more: D_k = k - (k + 1) Y n_(k+1) / n_k with Y = n_1 / (n_1 + 2 n_2).

    n_k is the number of n-grams of count k (Chen and Goodman 1999, equation 26). Where that is undefined or leaves
    (0, k], as in tiny texts, fixed discounts stand in.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].astype(np.float64)
    if not n[1:].all():
        return np.array(_FALLBACK)
    y = n[1] / (n[1] + 2.0 * n[2])
    found = np.array([0.0] + [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)])
    within = (found[1:] > 0.0) & (found[1:] <= np.arange(1, 4))
    return found if within.all() else np.array(_FALLBACK)


def _code_points(text: str) -> Ints:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)


def _stream(texts: Sequence[str], characters: Ints) -> Ints:
    """Documents as symbol numbers, one after the other, each between START and END."""
    parts: list[Ints] = []
    for text in texts:
        points = _code_points(text)
        places = np.minimum(np.searchsorted(characters, points), max(len(characters) - 1, 0))
        known = characters[places] == points if len(characters) else np.zeros(len(points), dtype=bool)
        parts += [np.array([START]), np.where(known, places + _FIRST_CHARACTER, OTHER), np.array([END])]
    return np.concatenate(parts)
