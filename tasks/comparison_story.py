"""Challenger and champion side by side: what the verdict rests on, slice by slice, and the rows that moved most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.evaluate import ANSWERS_FILE, row_columns
from llm.families.base import Family
from llm.files import read_jsonl
from llm.stages import Stage
from llm.statistics.measures import Measure
from llm.statistics.verdict import Verdict
from llm.tokens import rows_of
from tasks.markdown import plain, table

_ROWS = 5


def comparison_lines(
    family: Family, verdict: Verdict, *, corpus: Stage, champion: Stage, challenger: Stage, version: int
) -> Iterator[str]:
    """Markdown; `champion` (its version is `version`) and `challenger` are the evaluations of the test split."""
    metric = family.metric
    yield f"## Against champion version {version}, row by row ({metric.name})"
    yield ""
    yield from table(
        ["", "rows", "champion", "challenger", "difference", "95 % interval", "p (worse)"],
        [
            _row("all", verdict.overall.facts(), p=verdict.overall.p_worse),
            *(_row(one.name, one.comparison.facts(), p=one.adjusted_p_worse) for one in verdict.slices),
        ],
    )
    yield ""
    yield "p of slices: corrected for their number (Holm). Rows that moved most:"
    yield ""
    rows = rows_of(corpus.path, "test")
    moved = _moved(metric, row_columns(champion), row_columns(challenger))
    answers = [_answers(stage, count=len(rows)) for stage in (champion, challenger)]
    head = ["", "input", "right answer", f"version {version}", "challenger"]
    cells = [
        [_sign(moved[row]), rows[row][family.input_field], _right(family, rows[row]), *(one[row] for one in answers)]
        for row in _extremes(moved)
    ]
    yield from table(head, cells)


def _row(name: str, facts: Mapping[str, Any], *, p: float) -> list[str]:
    low, high = ("" if facts[bound] is None else f"{facts[bound]:+.3g}" for bound in ("low", "high"))
    figures = [f"{facts[whose]:.4g}" for whose in ("champion", "challenger")]
    return [name, f"{facts['rows']:,}", *figures, f"{facts['difference']:+.3g}", f"{low} to {high}", f"{p:.3g}"]


def _moved(metric: Measure, before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) how much better the challenger is in each row by itself, in the metric's unit; negative: worse."""
    change = metric.value(after) - metric.value(before)
    return change if metric.higher_is_better else -change


def _extremes(moved: NDArray[np.float64]) -> list[int]:
    """The rows that lost most, then those that gained most; none that stayed."""
    order = np.argsort(moved, kind="stable")
    worst = [row for row in order[:_ROWS].tolist() if moved[row] < 0]
    return worst + [row for row in order[::-1][:_ROWS].tolist() if moved[row] > 0]


def _answers(stage: Stage, *, count: int) -> Sequence[str]:
    """One a test row; empty ones of families that do not answer."""
    found = [plain(row["answer"]) for row in read_jsonl(stage.path / ANSWERS_FILE)]
    return found or [""] * count


def _right(family: Family, row: Mapping[str, str]) -> str:
    return "" if family.target_field == family.input_field else row[family.target_field]


def _sign(change: float) -> str:
    return f"{'worse' if change < 0 else 'better'} by {abs(change):.3g}"
