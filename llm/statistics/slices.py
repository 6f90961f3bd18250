"""Regressions in parts of the test split: what gains overall must not lose where somebody depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm.errors import InputError
from llm.statistics.comparison import Comparison
from llm.statistics.measures import Measure

Slices = Mapping[str, NDArray[np.bool_]]

# With fewer rows only a collapse could be seen (among eight slices, eight answers lost and none won), and each slice
# that is looked at raises what the others must show.
MINIMUM_ROWS = 30
SLICE_LEVEL = 0.05
# What is stated as found in 95 % of cases is planned for 99 %, for the reasons of PLANNED_POWER; they weigh more in a
# few rows.
PLANNED_SLICE_POWER = 0.99


@dataclass(frozen=True)
class SliceRegression:
    """One slice: the comparison within it, its p_worse corrected for the number of slices, and whether it blocks.

    comparison.detectable is the smallest regression here that blocks in 95 % of cases.
    """

    name: str
    comparison: Comparison
    adjusted_p_worse: float
    blocks: bool

    def facts(self) -> dict[str, Any]:
        """Fields by name, for JSON."""
        own = {"name": self.name, "adjusted_p_worse": self.adjusted_p_worse, "blocks": self.blocks}
        return own | self.comparison.facts()


def slice_regressions(
    measure: Measure,
    champion: ArrayLike,
    challenger: ArrayLike,
    *,
    slices: Slices,
    level: float = SLICE_LEVEL,
    seed: int = 0,
) -> tuple[SliceRegression, ...]:
    """Compare the (N, K) columns within each slice, a mask of (N,), that has at least MINIMUM_ROWS; worst first.

    level: the probability, over all slices together, that a challenger that is worse in none of them is blocked. Random
    swaps give no p-value below 1 / 2,001, so that of more than 2,001 * level slices (100) none could block.

    Raises InputError for a mask that is not (N,) bool, and as `measure.compare` does.
    """
    before, after = np.asarray(champion), np.asarray(challenger)
    judged = {name: _rows(name, mask, rows=len(before)) for name, mask in slices.items()}
    judged = {name: mask for name, mask in judged.items() if mask.sum() >= MINIMUM_ROWS}
    found = {
        name: measure.compare(
            before[mask], after[mask], level=level / len(judged), power=PLANNED_SLICE_POWER, seed=seed
        )
        for name, mask in judged.items()
    }
    adjusted = holm([one.p_worse for one in found.values()])
    results = [
        SliceRegression(name=name, comparison=one, adjusted_p_worse=p, blocks=p <= level)
        for (name, one), p in zip(found.items(), adjusted, strict=True)
    ]
    return tuple(sorted(results, key=lambda one: (one.adjusted_p_worse, one.comparison.p_worse)))


def too_small(slices: Slices) -> tuple[str, ...]:
    """Names of the slices that `slice_regressions` leaves out."""
    return tuple(name for name, mask in slices.items() if np.asarray(mask).sum() < MINIMUM_ROWS)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that calling all those of at most a level significant errs at all with that probability.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure": the i-th smallest of m is multiplied by
    m - i + 1, is at least its predecessor and at most 1. The tests may depend on each other in any way.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors), 1.0)
    return [float(p) for p in adjusted]


def _rows(name: str, mask: NDArray[np.bool_], *, rows: int) -> NDArray[np.bool_]:
    found = np.asarray(mask)
    if found.shape != (rows,) or found.dtype != np.bool_:
        raise InputError(
            f"the slice {name!r} is {found.dtype} of shape {found.shape}; it must be bool of shape ({rows},)",
            remedy="give a slice one truth value for each test row",
        )
    return found
