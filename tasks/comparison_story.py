"""Challenger and champion side by side: what the verdict rests on, slice by slice, and the rows that moved most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm.families.base import Family
from llm.stages import Stage
from llm.statistics.verdict import Verdict
from tasks.markdown import table
from tasks.moved_rows import moved_rows

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
    lost, gained = moved_rows(family, corpus=corpus, champion=champion, challenger=challenger, count=_ROWS)
    yield from table(
        ["", "input", "right answer", f"version {version}", "challenger"],
        [[row.told, row.text, row.right, row.before, row.after] for row in (*lost, *gained)],
    )


def _row(name: str, facts: Mapping[str, Any], *, p: float) -> list[str]:
    low, high = ("" if facts[bound] is None else f"{facts[bound]:+.3g}" for bound in ("low", "high"))
    figures = [f"{facts[whose]:.4g}" for whose in ("champion", "challenger")]
    return [name, f"{facts['rows']:,}", *figures, f"{facts['difference']:+.3g}", f"{low} to {high}", f"{p:.3g}"]
