"""What a paired comparison of two models says, and what every comparison asks of its rows.

Shapes: N rows, K additive columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm.errors import InputError

Columns = NDArray[np.float64]

# One-sided: the 95 % interval of an improvement then leaves out 0 whenever the improvement counts as shown, as clinical
# trials do it (ICH E9, 1998), and a challenger that is only as good is promoted in one night of forty.
LEVEL = 0.025
COVERAGE = 0.95
# What is stated as detected with 80 % power is planned for 90 %: the spread that the plan rests on is an estimate
# itself, a real gain adds to it, and a slice may veto. benchmarks/gate_calibration.py measures what is left.
PLANNED_POWER = 0.90


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the same rows; differences are challenger minus champion, in the metric's unit."""

    champion: float
    challenger: float
    difference: float
    low: float  # of the 95 % interval; -inf where the rows are too few for one
    high: float
    p_better: float  # one-sided: small says that the challenger is better, whichever direction that is
    p_worse: float
    method: str
    rows: int
    detectable: float | None  # smallest true difference found with 80 % power; None: none can be named

    def facts(self) -> dict[str, Any]:
        """Fields by name, for JSON: None in place of an infinite bound."""
        return {name: None if value in (math.inf, -math.inf) else value for name, value in asdict(self).items()}


def paired(
    champion: ArrayLike, challenger: ArrayLike, *, columns: Sequence[str], shared: Sequence[str]
) -> tuple[Columns, Columns]:
    """Both as (N, K) float64.

    columns: names of the K columns; shared: those that describe the row and not the answer, equal in both.

    Raises InputError when the shapes are not (N, K) with N of at least 1, when a figure is negative or not finite, or
    when a shared column shows that the rows are not the same ones.
    """
    a, b = np.asarray(champion, dtype=np.float64), np.asarray(challenger, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(columns) or not len(a):
        raise InputError(
            f"the champion's figures have shape {a.shape}, the challenger's {b.shape}; both: (rows, {len(columns)})",
            remedy=f"give both models' figures on the same rows, at least one: {', '.join(columns)}",
        )
    for whose, figures in (("champion", a), ("challenger", b)):
        wrong = ~(np.isfinite(figures) & (figures >= 0)).all(axis=0)
        if wrong.any():
            name = columns[int(wrong.argmax())]
            raise InputError(
                f"the {whose}'s column {name!r} holds a figure that is negative or not finite",
                remedy="score this model again; a model that answers with NaN is broken",
            )
    for name in shared:
        differs = a[:, columns.index(name)] != b[:, columns.index(name)]
        if differs.any():
            raise InputError(
                f"row {int(differs.argmax())} has another {name!r} for the champion than for the challenger",
                remedy="score both models on the same test split, in the same order",
            )
    return a, b


def can_be_shown(rows: int, level: float) -> bool:
    """Whether so many rows could ever give a p-value of `level`: the smallest one is that of all rows agreeing."""
    return 0.5**rows <= level
