"""Which classes are taken for which.

C: classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """`counts` (C, C): rows by true class (first) and by the class given; `names` of the classes, sorted."""

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, predictions: Sequence[str], labels: Sequence[str]) -> Confusion:
        """Count N predictions for N labels."""
        names = tuple(sorted({*labels, *predictions}))
        places = {name: place for place, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), dtype=np.int64)
        np.add.at(counts, ([places[one] for one in labels], [places[one] for one in predictions]), 1)
        return cls(names, counts)

    def pairs(self, most: int) -> list[tuple[str, str, int, float]]:
        """The most frequent mistakes: true class, class given, rows, and their share of the true class's rows."""
        wrong = self.counts * (1 - np.eye(len(self.names), dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [divmod(place, len(self.names)) for place in order.tolist()]
        totals = self.counts.sum(axis=1)
        return [
            (self.names[truth], self.names[given], int(wrong[truth, given]), float(wrong[truth, given] / totals[truth]))
            for truth, given in places
            if wrong[truth, given]
        ]

    def largest(self, most: int) -> Confusion:
        """The same over the classes with the most rows; rows of, or taken for, others are left out."""
        kept = np.sort(np.argsort(-self.counts.sum(axis=1), kind="stable")[:most])
        return Confusion(tuple(self.names[place] for place in kept), self.counts[np.ix_(kept, kept)])
