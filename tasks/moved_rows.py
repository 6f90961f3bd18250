"""The test rows in which a challenger answers better or worse than the champion, those that moved most first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.evaluate import ANSWERS_FILE, row_columns
from llm.families.base import Family
from llm.files import read_jsonl
from llm.stages import Stage
from llm.statistics.measures import Measure
from llm.tokens import rows_of
from tasks.markdown import plain


@dataclass(frozen=True)
class MovedRow:
    """`change`: how much better the challenger is in this row by itself, in the metric's unit; negative: worse.

    `right` is empty where the input is its own answer, `before` and `after` in families that do not answer.
    """

    change: float
    text: str
    right: str
    before: str
    after: str

    @property
    def told(self) -> str:
        """The change in words."""
        return f"{'worse' if self.change < 0 else 'better'} by {abs(self.change):.3g}"


def moved_rows(
    family: Family, *, corpus: Stage, champion: Stage, challenger: Stage, count: int
) -> tuple[list[MovedRow], list[MovedRow]]:
    """Up to `count` rows that lost most and up to `count` that gained most, none that stayed.

    `champion` and `challenger` are evaluations on the test split of `corpus`.
    """
    rows = rows_of(corpus.path, "test")
    changes = _changes(family.metric, row_columns(champion), row_columns(challenger))
    before, after = (_answers(stage, count=len(rows)) for stage in (champion, challenger))
    order = np.argsort(changes, kind="stable")
    found = [
        [
            MovedRow(
                change=float(changes[row]),
                text=rows[row][family.input_field],
                right=_right(family, rows[row]),
                before=before[row],
                after=after[row],
            )
            for row in side[:count].tolist()
            if changes[row] * sign > 0
        ]
        for side, sign in ((order, -1), (order[::-1], 1))
    ]
    return found[0], found[1]


def _changes(metric: Measure, before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) how much better the challenger is in each row."""
    change = metric.value(after) - metric.value(before)
    return change if metric.higher_is_better else -change


def _answers(stage: Stage, *, count: int) -> Sequence[str]:
    found = [plain(row["answer"]) for row in read_jsonl(stage.path / ANSWERS_FILE)]
    return found or [""] * count


def _right(family: Family, row: Mapping[str, Any]) -> str:
    return "" if family.target_field == family.input_field else row[family.target_field]
