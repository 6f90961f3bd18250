"""What an evaluation shows besides its metrics, on the page of the flow run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm.evaluate import evidence_of
from llm.stages import Stage
from llm.statistics.measures import Measure
from tasks.figures import within
from tasks.markdown import cell, table

_SLICES = 8
_LONGEST_LINE = 300


def evidence_lines(metric: Measure, evaluation: Stage, *, run_url: str | None) -> Iterator[str]:
    """Markdown: weaknesses, worst slices, the family's tables; where a server shows pages, a link to the pictures."""
    found = evidence_of(evaluation)
    yield "## Evidence"
    yield ""
    yield from (f"- {cell(told, longest=_LONGEST_LINE)}" for told in found["weaknesses"])
    yield f"- {', '.join(f'{name} {value:.4g}' for name, value in found['figures'].items())}"
    yield _where(found["pictures"], run_url)
    yield ""
    if found["slices"]:
        yield f"### {metric.name} by slice, worst first"
        yield ""
        shown = [[one["name"], one["rows"], slice_figure(one)] for one in found["slices"][:_SLICES]]
        yield from table(["", "rows", "95 % interval in brackets"], shown)
        yield ""
    for one in found["tables"]:
        yield f"### {cell(one['title'])}"
        yield ""
        yield cell(one["note"], longest=_LONGEST_LINE)
        yield ""
        yield from table(one["head"], [[_shown(value) for value in row] for row in one["rows"]])
        yield ""


def slice_figure(one: dict[str, Any]) -> str:
    """A slice's figure with its interval."""
    return within(one["value"], (one["low"], one["high"]))


def _where(pictures: list[str], run_url: str | None) -> str:
    names = f"{', '.join(pictures)} and evidence.json" if pictures else "evidence.json"
    folder = f"[evidence]({run_url}/artifacts)" if run_url else "`evidence`"
    return f"- {names}: folder {folder} of the MLflow run"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
