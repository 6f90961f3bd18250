"""What evidence is made of, and how rows are chosen to be shown.

N: test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 20
EXTREMES = 5

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """A table for people: `note` says how it was made."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: list[tuple[Cell, ...]]

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "note": self.note,
            "head": list(self.head),
            "rows": [list(row) for row in self.rows],
        }


@dataclass(frozen=True)
class Evidence:
    """What one family shows of an evaluated model.

    figures: numbers that are followed from night to night; weaknesses: sentences on what it does badly, computed;
    data: what machines may want whole; pictures: PNG files by name.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    weaknesses: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def drawn(count: int, *, most: int = SAMPLES, seed: int = 0) -> list[int]:
    """The numbers of at most `most` of `count` rows, drawn at random, in order; the same seed draws the same."""
    random = np.random.default_rng(seed)
    return sorted(random.choice(count, size=min(most, count), replace=False).tolist())


def extremes(scores: NDArray[np.float64], *, most: int = EXTREMES) -> tuple[list[int], list[int]]:
    """(N,) scores, low is bad -> the worst rows, worst first, and the best, best first; no row is in both."""
    order = np.argsort(scores, kind="stable").tolist()
    most = min(most, len(order) // 2)
    return order[:most], order[::-1][:most]


def worst_and_best(
    scores: NDArray[np.float64], cells: Callable[[int], tuple[Cell, ...]], *, head: tuple[str, ...], by: str
) -> Table:
    """The extremes of (N,) scores, low is bad; `cells` gives what is shown of a row, as `head` names it."""
    worst, best = extremes(scores)
    rows = [("worst", *cells(row)) for row in worst] + [("best", *cells(row)) for row in best]
    return Table("Worst and best test rows", f"By {by}.", ("", *head), rows)
